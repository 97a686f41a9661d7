"""Takes the class-producing layer off a network, and finds its blocks in forward order."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
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
    calls: dict[nn.Module, int] = {}

    def note(module: nn.Module, _: Any) -> None:
        calls.setdefault(module, len(calls))

    hook = register_module_forward_pre_hook(note)
    try:
        with torch.no_grad():  # not inference_mode: tensors that some networks cache must be usable in training
            feature_dim = network.eval()(torch.zeros(1, 3, *crop)).flatten(1).shape[1]
    finally:
        hook.remove()
        network.train()  # drops the tensors that some networks derive from their weights and cache in eval mode

    def first_call(name: str) -> int:
        module = network.get_submodule(name)
        inside = (calls[child] for child in module.modules() if child in calls)
        return calls.get(module, min(inside, default=-1))  # a few modules are never called as a whole

    total = _size(network)
    blocks: list[tuple[str, ...]] = []
    for name in sorted(_open(network, "", total), key=first_call):
        module = network.get_submodule(name)
        alone = _size(module) >= _TINY * total and any(p.dim() > 1 for p in module.parameters())
        if blocks and not alone:
            blocks[-1] += (name,)
        else:
            blocks.append((name,))
    return tuple(blocks), feature_dim


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
