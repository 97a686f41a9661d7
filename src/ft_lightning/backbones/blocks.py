"""Takes the class-producing layer off a network, and finds its blocks in forward order."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_pre_hook

_CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
_TINY = 0.002  # a share of the parameters too small to be a block of its own


def take_off_last_layer(network: Any) -> list[str]:
    """Replace the class-producing layer by Identity; return its name (a distilled model has two).

    A network that was published without such a layer stays as it is.
    """
    names = _last_layers(network)
    for name in names:
        network.set_submodule(name, nn.Identity())
    if hasattr(network, "num_classes"):
        network.num_classes = 0  # as timm sets it; a few networks that mix several last layers read it
    return names


def trace(network: nn.Module, crop: tuple[int, int]) -> tuple[tuple[tuple[str, ...], ...], int]:
    """Find (blocks, feature_dim) by one forward pass of a single image.

    Opens containers and modules with most of the parameters, and orders their children by first call, because a few
    networks register them in another order. Small neighbours share a block; a lone norm joins the block before it.
    """
    features, first_call = _run(network, lambda: network(torch.zeros(1, 3, *crop)))
    total = _size(network)
    blocks: list[tuple[str, ...]] = []
    for name in sorted(_open(network, "", total), key=first_call):
        module = network.get_submodule(name)
        alone = _size(module) >= _TINY * total and any(p.dim() > 1 for p in module.parameters())
        if blocks and not alone:
            blocks[-1] += (name,)
        else:
            blocks.append((name,))
    return tuple(blocks), features.flatten(1).shape[1]


def trace_list(network: nn.Module, run: Callable[[], Tensor]) -> tuple[tuple[tuple[str, ...], ...], int]:
    """Find (blocks, feature_dim) of a network of equal layers by `run`, one forward pass.

    The members of its largest list of layers are a block each. What is called before the first of them is one block,
    together with what is never called as a whole; what is called later belongs to the member before. A dropout that is
    called on both sides belongs to the earlier one. A network that calls the same layer again and again is one block.
    """
    lists = [name for name, module in network.named_modules() if isinstance(module, nn.ModuleList) and len(module) > 1]
    layers = max(lists, key=lambda name: _size(network.get_submodule(name)), default=None)
    features, first_call = _run(network, run)
    blocks: list[tuple[str, ...]] = [()]
    for name in sorted(_beside(network, "", layers), key=first_call):
        if name.rpartition(".")[0] == layers:
            blocks.append((name,))
        elif first_call(name) >= 0 or network.get_submodule(name).state_dict():
            blocks[-1] += (name,)
    return tuple(block for block in blocks if block), features.shape[1]


def _run(network: nn.Module, run: Callable[[], Tensor]) -> tuple[Tensor, Callable[[str], int]]:
    """Return the features of one forward pass, and when a module was first called in it; -1: never."""
    calls: dict[nn.Module, int] = {}

    def note(module: nn.Module, _: Any) -> None:
        calls.setdefault(module, len(calls))

    hook = register_module_forward_pre_hook(note)
    network.eval()
    try:
        with torch.no_grad():  # not inference_mode: tensors that some networks cache must be usable in training
            features = run()
    finally:
        hook.remove()
        network.train()  # drops the tensors that some networks derive from their weights and cache in eval mode

    def first_call(name: str) -> int:
        module = network.get_submodule(name)
        inside = (calls[child] for child in module.modules() if child in calls)
        return calls.get(module, min(inside, default=-1))  # a few modules are never called as a whole

    return features, first_call


def _beside(module: nn.Module, prefix: str, layers: str | None) -> Iterator[str]:
    """List the members of `layers`, and the modules beside them."""
    for name, child in module.named_children():
        path = f"{prefix}{name}"
        if path == layers or (layers or "").startswith(f"{path}."):
            yield from _beside(child, f"{path}.", layers)
        else:
            yield path


def _open(module: nn.Module, prefix: str, total: int) -> Iterator[str]:
    for name, child in module.named_children():
        if not child.state_dict():
            continue
        opens = isinstance(child, _CONTAINERS) or _size(child) > total / 2
        if opens and any(grandchild.state_dict() for grandchild in child.children()):
            yield from _open(child, f"{prefix}{name}.", total)
        else:
            yield f"{prefix}{name}"


def _size(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def _last_layers(network: Any) -> list[str]:
    layers = {module: name for name, module in network.named_modules() if isinstance(module, nn.Linear | nn.Conv2d)}
    if not hasattr(network, "get_classifier"):  # torchvision: simply the last layer
        return [list(layers.values())[-1]]
    classifiers = network.get_classifier()
    classifiers = list(classifiers) if isinstance(classifiers, tuple) else [classifiers]
    if hasattr(network, "aux_head"):  # its output is added to the classifier's
        classifiers += [network.aux_head]
    found = []
    for classifier in classifiers:
        for branch in classifier if isinstance(classifier, nn.ModuleList) else [classifier]:
            inside = [module for module in branch.modules() if module in layers]
            if inside and inside[-1].weight.shape[0] == network.num_classes:
                # The two last layers of a distilled model have one shape.
                found += [layers[module] for module in inside if module.weight.shape == inside[-1].weight.shape]
    return found
