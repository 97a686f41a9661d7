"""Reads pretrained values without running code from a file, and loads them by the network's names."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from ft_lightning.system.errors import UserError, name_few


@contextmanager
def tensors_only() -> Iterator[None]:
    """Make every torch.load in the block, the libraries' own too, read tensors only and run no code."""
    before = os.environ.get("TORCH_FORCE_WEIGHTS_ONLY_LOAD")
    os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"]
        else:
            os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = before


@contextmanager
def reading(path: Path, what: str = "pretrained weights", passing: tuple[type[Exception], ...] = ()) -> Iterator[None]:
    """Turn any error that a library raises for a weights file into a UserError that names the file.

    Args:
        what: the file is for.
        passing: errors that do not concern the file, and pass through.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, (UserError, *passing)):
            raise
        # Torch's own text explains how to run the code inside. By name, because pickle is imported nowhere here.
        hostile = type(error).__name__ == "UnpicklingError"
        suspicion = "it is damaged, or holds more than tensors, which could run code"
        reason = suspicion if hostile else " ".join(str(error).split())[:300] or repr(error)
        raise UserError(f"{path} cannot be used as {what}: {reason}.") from error


def own_file(weights: str | None) -> Path | None:
    """Return the file that model.weights names, if it names one."""
    if weights is None or not ("/" in weights or Path(weights).suffix in (".pth", ".pt", ".bin", ".safetensors")):
        return None
    path = Path(weights).expanduser()
    if not path.is_file():
        raise UserError(f"model.weights={weights}: there is no such file.")
    return path


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Read a state dict from .safetensors or a file of torch.save, there possibly under "state_dict" or "model"."""
    is_safetensors = path.suffix == ".safetensors"
    with reading(path):
        state = load_file(path) if is_safetensors else torch.load(path, map_location="cpu", weights_only=True)
    for key in ("state_dict", "model"):
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise UserError(f"{path} does not hold a state dict: save one with torch.save(model.state_dict(), path).")
    return state


def load_values(network: nn.Module, state: dict[str, Tensor], last_layers: list[str], label: str) -> None:
    """Load a state dict into a network without its last layers; only their values may be left over."""
    wanted = network.state_dict()
    last = tuple(f"{layer}." for layer in last_layers)
    given = {name: value for name, value in state.items() if name in wanted or not name.startswith(last)}
    missing, unexpected = sorted(wanted.keys() - given.keys()), sorted(given.keys() - wanted.keys())
    other_shape = sorted(name for name in wanted.keys() & given.keys() if wanted[name].shape != given[name].shape)
    if misfits := misfits_of(missing, unexpected, other_shape):
        raise UserError(
            f"model.weights={label} does not fit the network's {len(wanted)} entries: {misfits}. "
            "Is model.name the architecture these weights belong to, under the library's own names?"
        )
    network.load_state_dict(given)


def refuse_broken(network: nn.Module, label: str) -> None:
    """Raise UserError if a network's weights or statistics are not finite, as those of a training that diverged."""
    values = network.state_dict()
    ends = {name: torch.stack(value.aminmax()) for name, value in values.items() if value.numel()}  # NaN if any is
    if broken := [name for name, both in ends.items() if not both.isfinite().all()]:
        raise UserError(
            f"{label}: {len(broken)} of {len(values)} entries hold values that are not finite ({name_few(broken)}): "
            "use other weights."
        )


def misfits_of(missing: list[str], unexpected: list[str], other_shape: list[str]) -> str:
    """Say which entries do not fit a network; empty if all do."""
    kinds = {"missing": missing, "unexpected": unexpected, "of another shape": other_shape}
    return "; ".join(f"{len(names)} {kind} ({', '.join(names[:3])})" for kind, names in kinds.items() if names)


def unknown_weights(weights: str, name: str, known: list[str]) -> UserError:
    """Build the error for weights that a model does not have."""
    listing = f"it has {', '.join(known)}" if known else "it has none that can be downloaded"
    return UserError(
        f"model.weights={weights}: {name} has no such weights, {listing}; a file's path and null also work."
    )
