"""Low-rank adapters (LoRA): small trained matrices beside the linear layers of a network that stays as it is."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ft_lightning.lora_layers import Layer, chosen_of, layers_of, let_read, used_by
from ft_lightning.system.errors import UserError, name_few, number_of


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
    """The adapters of a network, by the names of its layers. They are outside the network, whose names stay.

    Args:
        rank: r of the matrices A (r, in) and B (out, r).
        alpha: the adapters' part is multiplied by alpha / rank, or by alpha / sqrt(rank) if `rank_stabilised`, with
            which a higher rank learns as fast as a lower one (Kalajdzievski, "A Rank Stabilization Scaling Factor for
            Fine-Tuning with LoRA", 2023).
        targets: all-linear; attention, all of them with attention or attn in their name; mlp, all others; or endings
            of names, or regular expressions of whole names.
        dropout: as in `Adapter`.
    """

    def __init__(
        self, rank: int, alpha: float, targets: str | Sequence[str], dropout: float, rank_stabilised: bool = False
    ) -> None:
        super().__init__()
        self.rank_stabilised = rank_stabilised
        self.scale = alpha / (math.sqrt(rank) if rank_stabilised else rank)
        self.rank = rank
        self.alpha = alpha
        self.targets = targets if isinstance(targets, str) else list(targets)
        self.dropout = dropout

    def add(self, path: str, layer: Layer) -> None:
        """Put an adapter beside the layer of this name."""
        adapter = Adapter(layer, self.rank, self.scale, self.dropout)
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
            let_read(layer, adapter.onto)

    def named(self) -> dict[str, Adapter]:
        """Return the adapters by the name of their layer."""
        return {path: module for path, module in self.named_modules() if isinstance(module, Adapter)}

    def to_dict(self) -> dict[str, Any]:
        """Describe the adapters for model.json."""
        said = {"rank": self.rank, "alpha": self.alpha, "targets": self.targets, "layers": len(self.named())}
        return said | ({"rank_stabilised": True} if self.rank_stabilised else {})

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
    adapters: Adapters,
) -> Adapters:
    """Put adapters beside the layers of a network that their targets name, as far as it uses them; freeze the network.

    Args:
        blocks: names of the modules in which to look for layers.
        run: passes some sample through the network, to see which layers it calls.
        name: of the network, for messages.
        adapters: without any yet; returned with those of the network.

    Raises:
        UserError: there is nothing to adapt.
    """
    network.eval().requires_grad_(False)
    for module in network.modules():
        if getattr(module, "gradient_checkpointing", False):  # these will not be in eval mode: see finetune.freeze_plan
            module.__dict__.update({key: 0.0 for key in vars(module) if "dropout" in key})
    layers = used_by(layers_of(network, blocks), run)
    if not layers:
        raise UserError(
            f"finetune=lora adapts linear layers, and the blocks of {name} have none that it can use: use "
            "finetune=partial."
        )
    chosen = chosen_of(layers, adapters.targets)
    if adapters.dropout and (read := [path for path, layer in chosen.items() if not layer.is_called]):
        raise UserError(
            f"finetune.dropout={adapters.dropout}: {name} reads the weights of {number_of(len(read), 'layer')} without "
            f"passing them inputs that could be left out ({name_few(read)}): use finetune.dropout=0."
        )
    for path, layer in chosen.items():
        adapters.add(path, layer)
    return adapters
