"""What a model of sentence-transformers does with a pooled text: dense layers, and scaling to unit length."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from ft_lightning.backbones.weights import reading
from ft_lightning.system.errors import UserError

NAME = "after_pooling"  # of the module in the network
Steps = Sequence[Mapping[str, Any]]  # plain values, kept in model.json

_ACTIVATIONS = {each.__name__: each for each in (nn.Identity, nn.Tanh, nn.ReLU, nn.GELU, nn.SiLU, nn.Sigmoid)}
_WEIGHTS = "model.safetensors"


class Dense(nn.Module):
    """A linear layer and an activation, in float32. It is no `nn.Linear`, so that adapters leave it as it is."""

    def __init__(self, inputs: int, outputs: int, bias: bool, activation: str) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(outputs, inputs))
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None
        self.activation = _ACTIVATIONS[activation]()

    def forward(self, features: Tensor) -> Tensor:
        """Compute (B, inputs) -> (B, outputs)."""
        return self.activation(F.linear(features, self.weight, self.bias))


class Normalize(nn.Module):
    """Scales features (B, D) to unit length."""

    def forward(self, features: Tensor) -> Tensor:
        return F.normalize(features, dim=1)


def built(steps: Steps) -> nn.Sequential:
    """Build these steps, with weights of zero."""
    return nn.Sequential(*(Dense(**step["dense"]) if "dense" in step else Normalize() for step in steps))


def read_steps(modules: Any, folder: Path, config_of: Any) -> list[tuple[dict[str, Any], str]]:
    """Return what follows pooling, each with its folder.

    Args:
        modules: content of modules.json: a list of modules in order, each with path and type.
        folder: of modules.json, for messages.
        config_of: (path in the folder) -> keys of that JSON file.

    Raises:
        UserError: a module that is not known here; without it the features would be others.
    """
    listed = [each for each in modules if isinstance(each, dict)] if isinstance(modules, list) else []
    named = [(str(each.get("type")).rpartition(".")[2], str(each.get("path"))) for each in listed]
    if [kind for kind, _ in named[:2]] != ["Transformer", "Pooling"]:
        first = " and ".join(f"{path or 'the folder itself'} ({kind})" for kind, path in named[:2])
        raise _unknown(folder, first or "no list of modules")
    steps: list[tuple[dict[str, Any], str]] = []
    for kind, path in named[2:]:
        if kind == "Dropout":
            continue
        if kind not in ("Dense", "Normalize") or not _is_inside(path):
            raise _unknown(folder, f"{path} ({kind})")
        is_dense = kind == "Dense"
        step = {"dense": _dense(config_of(f"{path}/config.json"), folder / path)} if is_dense else {"normalize": {}}
        steps.append((step, path))
    return steps


def load(network: nn.Module, paths: Sequence[str], folder: Path) -> None:
    """Load the weights of the dense layers among the steps."""
    for layer, path in zip(network.children(), paths, strict=True):
        if not isinstance(layer, Dense):
            continue
        file = folder / path / _WEIGHTS
        if not file.is_file():
            raise _unknown(folder, f"{path} (Dense, whose weights are no {_WEIGHTS})")
        with reading(file):
            state = {name.removeprefix("linear."): value.float() for name, value in load_file(file).items()}
            layer.load_state_dict(state)


def _dense(said: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    activation = str(said.get("activation_function", "Tanh")).rpartition(".")[2]
    sizes = [said.get("in_features"), said.get("out_features")]
    if activation not in _ACTIVATIONS or not all(isinstance(size, int) and size > 0 for size in sizes):
        raise _unknown(folder.parent, f"{folder.name} (Dense, {activation}, {sizes[0]} x {sizes[1]})")
    return {"inputs": sizes[0], "outputs": sizes[1], "bias": bool(said.get("bias", True)), "activation": activation}


def _is_inside(path: str) -> bool:
    return bool(path) and Path(path).name == path and path not in (".", "..")


def _unknown(folder: Path, what: str) -> UserError:
    return UserError(
        f"{folder}: its modules.json has {what}, which is not known here, so its features would be others than "
        "those of sentence-transformers. model.pooling=mean (or cls, last) takes the network alone, without it."
    )
