"""The linear layers of a network that can have adapters, and the choice among them."""

import functools
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn

from ft_lightning.system.errors import UserError, name_few, number_of


@dataclass(frozen=True)
class Layer:
    """A linear layer, or an attention that keeps the three weights of its inputs in one matrix."""

    module: nn.Module
    weight_name: str = "weight"
    is_transposed: bool = False  # (in, out), as GPT-2 keeps its weights
    is_called: bool = True  # False: the network reads its weight

    @property
    def weight(self) -> Tensor:
        return self.module._parameters[self.weight_name]  # type: ignore[return-value]


def layers_of(network: nn.Module, blocks: Iterable[Iterable[str]]) -> dict[str, Layer]:
    """Return the linear layers inside the blocks by name, without those that share their weight with another one."""
    roots = tuple(f"{root}." for block in blocks for root in block)
    ids = [id(weight) for _, weight in network.named_parameters(remove_duplicate=False)]
    found = {}
    for path, module in network.named_modules():
        layer = _layer(module) if f"{path}.".startswith(roots) else None
        if layer and ids.count(id(layer.weight)) == 1:
            found[path] = layer
    return found


def _layer(module: nn.Module) -> Layer | None:
    if isinstance(module, nn.Linear):
        return Layer(module)
    if isinstance(module, nn.MultiheadAttention) and module.in_proj_weight is not None:
        return Layer(module, "in_proj_weight", is_called=False)
    conv1d = getattr(sys.modules.get("transformers.pytorch_utils"), "Conv1D", None)  # linear, in spite of its name
    return Layer(module, is_transposed=True) if conv1d and isinstance(module, conv1d) else None


def used_by(layers: Mapping[str, Layer], run: Callable[[], object]) -> dict[str, Layer]:
    """Return the layers that a run uses, and whether it calls them or only reads their weights."""
    called, read = set[str](), set[str]()
    for path, layer in layers.items():
        let_read(layer, functools.partial(_noting, read, path))
    hooks = [
        layer.module.register_forward_hook(functools.partial(_noting, called, path)) for path, layer in layers.items()
    ]
    try:
        run()
    finally:
        for hook, layer in zip(hooks, layers.values(), strict=True):
            hook.remove()
            layer.module.__class__ = type(layer.module).__mro__[1]
            del layer.module.__dict__["shown"]
    used = {path: layers[path] for path in layers if path in called | read}
    return {path: replace(layer, is_called=layer.is_called and path in called) for path, layer in used.items()}


def _noting(seen: set[str], path: str, value: Any, *_: Any) -> Any:
    seen.add(path)


def let_read(layer: Layer, change: Callable[[Tensor], Tensor | None]) -> None:
    """Make a layer show its weight as `change` returns it. Its state, parameters and names stay as they are."""
    layer.module.__dict__["shown"] = change  # not an attribute: an adapter in it would be a part of the layer
    kind: Any = type(layer.module)
    layer.module.__class__ = _showing(kind, layer.weight_name)


@functools.cache
def _showing(kind: Any, weight_name: str) -> type[nn.Module]:
    def weight(self: nn.Module) -> Any:
        own = self._parameters[weight_name]
        changed = self.__dict__["shown"](own)
        return own if changed is None else changed

    return type(kind.__name__, (kind,), {weight_name: property(weight), "__module__": kind.__module__})


def chosen_of(layers: Mapping[str, Layer], targets: str | Sequence[str]) -> dict[str, Layer]:
    if targets == "all-linear":
        return dict(layers)
    named = [targets] if isinstance(targets, str) else [str(target) for target in targets]
    found = {target: [path for path in layers if _matches(path, target)] for target in named}
    for target, paths in found.items():
        if not paths:
            endings = sorted({re.sub(r"^.*?([^.]+(\.\d+)*)$", r"\1", path) for path in layers})
            raise UserError(
                f"finetune.targets={target} fits none of the {number_of(len(layers), 'linear layer')} that can have "
                f"adapters: use all-linear, attention, mlp, or endings of names such as {name_few(endings)}."
            )
    kept = set().union(*found.values())
    return {path: layer for path, layer in layers.items() if path in kept}


def _matches(path: str, target: str) -> bool:
    if target in ("attention", "mlp"):
        return bool(re.search("attention|attn", path, re.IGNORECASE)) == (target == "attention")
    try:
        return path == target or path.endswith(f".{target}") or bool(re.fullmatch(target, path))
    except re.error as error:
        raise UserError(f"finetune.targets={target} is no regular expression: {error}.") from None
