"""Downloads files of pretrained weights into the libraries' caches, whole or not at all, and verifies every load."""

import hashlib
import logging
import os
import re
import shutil
import urllib.error
import urllib.request
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import torch
from huggingface_hub import constants, hf_hub_download, snapshot_download, try_to_load_from_cache
from huggingface_hub.errors import LocalEntryNotFoundError, RemoteEntryNotFoundError
from platformdirs import user_cache_path
from rich.progress import wrap_file

from ft_lightning.system.errors import UserError
from ft_lightning.system.files import UnwritableError, replacing, sha256, sweep

_OFFLINE = "Without a network, model=efficientnet_lite0 works: its weights are installed."
_SNAPSHOT = (  # of a text network; not the same weights once more in other formats, nor code
    "*_Dense/config.json",
    "*_Dense/model.safetensors",
    "1_Pooling/config.json",
    "config.json",
    "model.safetensors",
    "model.safetensors.index.json",
    "model-*.safetensors",
    "modules.json",
    "sentence_bert_config.json",
    "tokenizer.json",
)
_TIMEOUT = 60  # seconds without an answer

log = logging.getLogger(__name__)

_unrecorded: dict[Path, str] = {}  # sha256 of verified files that have none recorded yet


def fetch(url: str) -> Path:
    """Return the file of a library's weights in torch's cache, downloaded if missing, and verified."""
    path = Path(torch.hub.get_dir()) / "checkpoints" / Path(urlparse(url).path).name
    if not path.exists():
        _forget(path)
        try:
            _download(url, path)
        except (OSError, HTTPException) as error:
            reason = error.__cause__ if isinstance(error, UnwritableError) else error  # usually the connection
            raise UserError(
                f"Cannot download {path.name} ({reason}). By hand: fetch {url} elsewhere, put it at {path}. {_OFFLINE}"
            ) from error
    verify(path, _prefix(path))
    return path


def fetch_from_hub(repository: str) -> Path:
    """Return the weights file of a Hugging Face repository from its cache, downloaded if missing, and verified."""
    names = ["model.safetensors", "pytorch_model.bin"]
    cached = (try_to_load_from_cache(repository, name) for name in names)
    path = next((Path(found) for found in cached if isinstance(found, str)), None)
    if path is None:
        path = _download_from_hub(repository, names)
        _forget(path.resolve())
    _verify_linked(path)
    return path


def fetch_snapshot(repository: str, revision: str | None) -> Path:
    """Return the folder of a text network's files in the hub's cache, downloaded if missing, and verified.

    Without a revision a cached copy counts as the newest. The folder is named by its commit.
    """
    wanted: dict[str, Any] = {"repo_id": repository, "revision": revision, "allow_patterns": list(_SNAPSHOT)}
    try:
        folder = Path(snapshot_download(**wanted, local_files_only=True))
    except LocalEntryNotFoundError:
        folder = None
    if folder is None or not _is_whole(folder):
        folder = _download_snapshot(repository, wanted)
    for path in sorted(folder.glob("**/*.safetensors")):
        _verify_linked(path)
    return folder


def _verify_linked(path: Path) -> None:
    # The cache links to a file that is named by its sha256 if it is large, by another digest if it is small.
    stored = path.resolve()
    verify(stored, stored.name if re.fullmatch(r"[a-f0-9]{64}", stored.name) else "")


def _is_whole(folder: Path) -> bool:
    modules = (folder / "modules.json").exists() or not (folder / "1_Pooling").exists()  # of sentence-transformers
    return modules and any(folder.glob("*.safetensors")) and (folder / "config.json").exists()


def verify(path: Path, expected: str) -> None:
    """Raise UserError for a file whose sha256 differs from its name or from the recorded one.

    If the name holds no whole sha256, that of the first file that loads (`remember`) holds from then on.
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
            _unrecorded[path] = found
    if not found.startswith(expected):
        raise UserError(f"{path} is damaged: its sha256 is {found}, expected {expected}. {again}")


def remember(path: Path) -> None:
    """Record the sha256 of a verified file once its values have loaded, in the user's cache directory.

    Recorded before, that of a damaged file would hold for the whole one that takes its place.
    """
    for place in (path, path.resolve()):  # of torch's cache, and behind a link of the hub's
        if found := _unrecorded.pop(place, None):
            _write(_record_of(place), found, place)


def _reach(endpoint: str) -> None:
    # Without this check the hub's client (2.4) retries for 23 seconds before it reports that there is no network.
    with suppress(urllib.error.HTTPError):  # the server has answered
        urllib.request.urlopen(urllib.request.Request(endpoint, method="HEAD"), timeout=10).close()


def _download(url: str, path: Path) -> None:
    """Download a file and put it in place only when complete; torch.hub accepts a part after a broken connection."""
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
        if size and (received := temporary.stat().st_size) != size:
            raise OSError(f"the connection ended after {received} of {size} bytes")
        if not (found := sha256(temporary)).startswith(_prefix(path)):
            raise OSError(f"the download has sha256 {found}, expected {_prefix(path)}")


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


def _download_snapshot(repository: str, wanted: dict[str, Any]) -> Path:
    try:
        if constants.HF_HUB_OFFLINE:
            raise OSError("HF_HUB_OFFLINE is set")
        _reach(constants.ENDPOINT)
        return Path(snapshot_download(**wanted))
    except OSError as error:
        reason = str(error).strip().partition("\n")[0]
        raise UserError(
            f"model.name={repository}: no such folder, and it cannot be downloaded ({reason}). By hand: fetch it "
            f"elsewhere (hf download {repository} --local-dir FOLDER) and say model.name=/path/to/FOLDER. Without a "
            "network, model=minilm works: its weights are installed."
        ) from error


def _prefix(path: Path) -> str:
    """Return the beginning of the sha256 that the name of a file in torch's cache holds."""
    match = re.search(r"-([a-f0-9]{8,})\.", path.name)
    return match[1] if match else ""


def _read(record: Path) -> str:
    """Return the recorded sha256, "" for none."""
    with suppress(OSError):
        match = re.match(r"[a-f0-9]{64}(?= )", record.read_text(encoding="utf-8", errors="replace"))
        return match[0] if match else ""
    return ""


def _write(record: Path, found: str, path: Path) -> None:
    try:  # in the format of sha256sum
        with replacing(record) as temporary:
            temporary.write_text(f"{found}  {path.absolute()}\n", encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        log.warning("%s cannot be written (%s): a later change of %s may not be noticed.", record, error, path)


def _forget(path: Path) -> None:
    """Forget the recorded sha256 of this path: the file that was verified is gone."""
    with suppress(OSError):
        _record_of(path).unlink(missing_ok=True)


def _record_of(path: Path) -> Path:
    place = hashlib.sha256(os.fsencode(path.absolute())).hexdigest()[:16]
    return user_cache_path("ft_lightning") / "weights" / f"{path.name[:100]}.{place}.sha256"
