"""Low-rank adapters (LoRA): small trained matrices beside the linear layers of a network that stays as it is."""

import functools
import math
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

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


class Adapter(nn.Module):
    """`scale B A` beside the weight of a layer (Hu et al., 2022). B starts at zero, so the layer starts unchanged.

    In float32 whatever the weight is, because half precision would round small steps away.

    Args:
        dropout: share of the inputs that a training step leaves out.
    """

    def __init__(self, layer: Layer, rank: int, scale: float, dropout: float) -> None:
        super().__init__()
        rows, columns = reversed(layer.weight.shape) if layer.is_transposed else layer.weight.shape
        self.A = nn.Parameter(torch.empty(rank, columns, device=layer.weight.device))
        self.B = nn.Parameter(torch.zeros(rows, rank, device=layer.weight.device))
        nn.init.kaiming_uniform_(self.A, a=math.sqrt(5))  # as nn.Linear starts, and peft's A
        self.weight_name = layer.weight_name
        self.is_transposed = layer.is_transposed
        self.is_called = layer.is_called
        self.scale = scale
        self.dropout = dropout

    def _is_untrained(self) -> bool:
        # Then a pass without gradients, as for the feature store, takes the network's own kernels, to the bit.
        return not torch.is_grad_enabled() and not self.B.any()

    def onto(self, weight: Tensor) -> Tensor:
        """Return a weight with the adapter's part, for a network that reads it, and for one without adapters."""
        if self._is_untrained():
            return weight
        delta = self.B @ self.A * self.scale
        return weight + (delta.T if self.is_transposed else delta).to(weight)

    def beside(self, layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Tensor) -> Tensor:
        """Return a layer's output with the adapter's part: a forward hook.

        Cheaper than `onto`, because the whole weight needs no gradient.
        """
        if self._is_untrained():
            return output
        inputs: Tensor = (*args, *kwargs.values())[0]
        if not torch.is_autocast_enabled(inputs.device.type):
            inputs = inputs.to(self.A.dtype)
        inputs = F.dropout(inputs, self.dropout, self.training)
        return output + F.linear(F.linear(inputs, self.A), self.B * self.scale).to(output.dtype)


class Adapters(nn.Module):
    """The adapters of a network, by the names of its layers. They are outside the network, whose names stay."""

    def __init__(self, rank: int, alpha: float, targets: str | Sequence[str], dropout: float) -> None:
        super().__init__()
        self.rank = rank
        self.alpha = alpha
        self.targets = targets if isinstance(targets, str) else list(targets)
        self.dropout = dropout

    def add(self, path: str, layer: Layer) -> None:
        """Put an adapter beside the layer of this name."""
        adapter = Adapter(layer, self.rank, self.alpha / self.rank, self.dropout)
        *parents, last = path.split(".")
        place: nn.Module = self
        for parent in parents:
            if parent not in place._modules:
                place.add_module(parent, nn.Module())
            place = place.get_submodule(parent)
        place.add_module(last, adapter)
        if layer.is_called:
            layer.module.register_forward_hook(adapter.beside, with_kwargs=True)
        else:
            _let_read(layer, adapter.onto)

    def named(self) -> dict[str, Adapter]:
        """Return the adapters by the name of their layer."""
        return {path: module for path, module in self.named_modules() if isinstance(module, Adapter)}

    def to_dict(self) -> dict[str, Any]:
        """Describe the adapters for model.json."""
        return {"rank": self.rank, "alpha": self.alpha, "targets": self.targets, "layers": len(self.named())}

    @torch.no_grad()
    def merged(self, state: Mapping[str, Tensor], prefix: str = "") -> dict[str, Tensor]:
        """Return a state with the adapters added to their weights, in float32; `prefix` is that of the network."""
        keys = {f"{prefix}{path}.{adapter.weight_name}": adapter for path, adapter in self.named().items()}
        return {
            key: keys[key].onto(value.float()).to(value.dtype) if key in keys else value for key, value in state.items()
        }


def adapt(
    network: nn.Module,
    blocks: Iterable[Iterable[str]],
    run: Callable[[], object],
    name: str,
    rank: int,
    alpha: float,
    targets: str | Sequence[str],
    dropout: float,
) -> Adapters:
    """Put adapters beside the layers of a network that `targets` names, as far as it uses them; freeze the network.

    Args:
        blocks: names of the modules in which to look for layers.
        run: passes some sample through the network, to see which layers it calls.
        name: of the network, for messages.
        rank: r of the matrices A (r, in) and B (out, r).
        alpha: the adapters' part is multiplied by alpha / rank.
        targets: all-linear; attention, all of them with attention or attn in their name; mlp, all others; or endings
            of names, or regular expressions of whole names.
        dropout: as in `Adapter`.

    Raises:
        UserError: there is nothing to adapt.
    """
    network.eval().requires_grad_(False)
    for module in network.modules():
        if getattr(module, "gradient_checkpointing", False):  # these will not be in eval mode: see finetune.freeze_plan
            module.__dict__.update({key: 0.0 for key in vars(module) if "dropout" in key})
    layers = _used(_layers(network, blocks), run)
    if not layers:
        raise UserError(
            f"finetune=lora adapts linear layers, and the blocks of {name} have none that it can use: use "
            "finetune=partial."
        )
    chosen = _chosen(layers, targets)
    if dropout and (read := [path for path, layer in chosen.items() if not layer.is_called]):
        raise UserError(
            f"finetune.dropout={dropout}: {name} reads the weights of {number_of(len(read), 'layer')} without passing "
            f"them inputs that could be left out ({name_few(read)}): use finetune.dropout=0."
        )
    adapters = Adapters(rank, alpha, targets, dropout)
    for path, layer in chosen.items():
        adapters.add(path, layer)
    return adapters


def _layers(network: nn.Module, blocks: Iterable[Iterable[str]]) -> dict[str, Layer]:
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


def _used(layers: Mapping[str, Layer], run: Callable[[], object]) -> dict[str, Layer]:
    """Return the layers that a run uses, and whether it calls them or only reads their weights."""
    called, read = set[str](), set[str]()
    for path, layer in layers.items():
        _let_read(layer, functools.partial(_noting, read, path))
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


def _let_read(layer: Layer, change: Callable[[Tensor], Tensor | None]) -> None:
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


def _chosen(layers: Mapping[str, Layer], targets: str | Sequence[str]) -> dict[str, Layer]:
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
