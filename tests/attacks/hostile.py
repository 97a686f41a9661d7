"""Files that want to run code, or to be believed, built to see that they are neither run nor believed.

A payload makes a folder, the canary. `python tests/attacks/hostile.py FOLDER` writes the files there, to be tried on
other programs, and shows that they are armed: read as nobody should, they do make their canary.
"""

import io
import json
import os
import pickle
import shutil
import struct
import sys
import zipfile
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch


class Payload:
    """Unpickled by anything that runs what a pickle says, it makes a folder."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Callable[..., None], tuple[str]]:
        return os.mkdir, (str(self.canary),)


# --- pickles ---


def by_torch(path: Path, canary: Path) -> Path:
    """As torch.save writes it, among tensors."""
    torch.save({"conv1.weight": torch.zeros(3), "payload": Payload(canary)}, path)
    return path


def by_old_torch(path: Path, canary: Path) -> Path:
    """As torch.save wrote it before it was a zip file."""
    torch.save({"payload": Payload(canary)}, path, _use_new_zipfile_serialization=False)
    return path


def by_pickle(path: Path, canary: Path) -> Path:
    """A bare pickle."""
    path.write_bytes(pickle.dumps({"payload": Payload(canary)}))
    return path


def by_zip(path: Path, canary: Path) -> Path:
    """A zip of one file, which torch.hub unpacks before it reads it."""
    inner = io.BytesIO()
    torch.save({"payload": Payload(canary)}, inner, _use_new_zipfile_serialization=False)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("../climbed-out.pth", inner.getvalue())
    return path


PICKLES = {"torch": by_torch, "old torch": by_old_torch, "pickle": by_pickle, "zip": by_zip}


def checkpoint(path: Path, canary: Path, where: str) -> Path:
    """Arm a checkpoint that a run left: the payload stands in one of its parts, the others stay as they are."""
    content: dict[str, Any] = torch.load(path, weights_only=True)
    content[where] = {"payload": Payload(canary), "before": content.get(where)}
    torch.save(content, path)
    return path


# --- safetensors ---


def safetensors(header: dict[str, Any], data: bytes, length: int | None = None) -> bytes:
    """The format by hand, whatever it says: length of the header, header, data."""
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def _entry(begin: int, end: int, shape: list[int], dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


BROKEN_SAFETENSORS = {
    "a header of 2^63 bytes": safetensors({}, b"", length=2**63),
    "a header longer than the file": safetensors({"a": _entry(0, 4, [1])}, b"0000", length=10_000),
    "overlapping tensors": safetensors({"a": _entry(0, 8, [2]), "b": _entry(4, 12, [2])}, bytes(12)),
    "a tensor outside the file": safetensors({"a": _entry(0, 2**40, [2**38])}, bytes(8)),
    "a size that overflows": safetensors({"a": _entry(0, 8, [2**40, 2**40])}, bytes(8)),
    "an unknown type": safetensors({"a": _entry(0, 8, [1], "OBJECT")}, bytes(8)),
    "a header that is none": struct.pack("<Q", 8) + b"not json",
    "nothing": b"",
}


# --- model directories ---


def _weights(content: Callable[[Path], bytes]) -> Callable[[Path, Path], None]:
    def change(folder: Path, canary: Path) -> None:
        (folder / "model.safetensors").write_bytes(content(canary))

    return change


def _card(key: str, value: Callable[[Path], Any]) -> Callable[[Path, Path], None]:
    """Set one (dotted) key of model.json."""

    def change(folder: Path, canary: Path) -> None:
        card = node = json.loads((folder / "model.json").read_text())
        *parents, last = key.split(".")
        for parent in parents:
            node = node[parent]
        node[last] = value(canary)
        (folder / "model.json").write_text(json.dumps(card))

    return change


def _target(canary: Path) -> dict[str, Any]:
    return {"_target_": "os.mkdir", "_args_": [str(canary)], "path": str(canary)}


MODELS: dict[str, Callable[[Path, Path], None]] = {
    "weights are a pickle": _weights(lambda canary: pickle.dumps(Payload(canary))),
    **{f"weights have {what}": _weights(lambda _, data=data: data) for what, data in BROKEN_SAFETENSORS.items()},
    "name on a hub": _card("backbone.name", lambda _: "hf-hub:someone/evil"),
    "name of a local folder": _card("backbone.name", lambda canary: f"local-dir:{canary.parent}"),
    "absolute path as name": _card("backbone.name", lambda canary: str(canary.parent / "evil.pth")),
    "path that climbs as name": _card("backbone.name", lambda _: "../../../etc/passwd"),
    "tag on a hub": _card("backbone.name", lambda _: "test_resnet.hf-hub:someone/evil"),
    "a module as source": _card("backbone.source", lambda _: "os"),
    "_target_ for the backbone": _card("backbone", _target),
    "_target_ beside the backbone's values": _card("backbone._target_", lambda _: "os.mkdir"),
    "_target_ among its arguments": _card("backbone.arguments", _target),
    "_target_ as an argument": _card("backbone.arguments", lambda canary: {"act_layer": _target(canary)}),
    "a file among its arguments": _card("backbone.arguments", lambda canary: {"checkpoint_path": str(canary)}),
    "weights among its arguments": _card(
        "backbone.arguments", lambda canary: {"pretrained_cfg": {"file": str(canary)}}
    ),
    "_target_ for the head": _card("head", _target),
    "another function as head": _card("head.name", lambda _: "os.mkdir"),
    "_target_ for the preprocess": _card("preprocess", _target),
    "code as interpolation": _card(
        "preprocess.interpolation", lambda canary: f"__import__('os').mkdir({str(canary)!r})"
    ),
    "class names that are none": _card("class_names", lambda _: 7),
    "a format that is none": _card("format", _target),
    "a list instead of a card": lambda folder, _: (folder / "model.json").write_text("[1]") and None,
}


def model(original: Path, folder: Path, attack: str, canary: Path) -> Path:
    """A copy of a model directory, attacked; its own checksum fits, as an attacker would see to."""
    shutil.copytree(original, folder)
    MODELS[attack](folder, canary)
    card = json.loads((folder / "model.json").read_text())
    if isinstance(card, dict):
        card["sha256"] = sha256((folder / "model.safetensors").read_bytes()).hexdigest()
        (folder / "model.json").write_text(json.dumps(card))
    return folder


# --- YAML ---

YAMLS = {
    "apply": "root: !!python/object/apply:os.mkdir [{canary}]\n",
    "new": "root: !!python/object/new:os.mkdir [{canary}]\n",
    "module": "root: !!python/name:os.mkdir\n",
}


def yaml(path: Path, kind: str, canary: Path) -> Path:
    """A config file whose value asks the YAML reader to call a function."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("defaults: [image_folder]\n" + YAMLS[kind].format(canary=canary))
    return path


def show_that_it_is_armed(kind: str, folder: Path) -> None:
    """Build a pickle and read it as nobody should."""
    canary = folder / f"canary of {kind}"
    path = PICKLES[kind](folder / f"{kind}.pth", canary)
    content = zipfile.ZipFile(path).read("../climbed-out.pth") if kind == "zip" else path.read_bytes()
    pickle.loads(content) if kind == "pickle" else torch.load(io.BytesIO(content), weights_only=False)
    assert canary.is_dir()


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True)
    for kind in PICKLES:
        show_that_it_is_armed(kind, folder)
    for what, data in BROKEN_SAFETENSORS.items():
        (folder / f"{what}.safetensors").write_bytes(data)
