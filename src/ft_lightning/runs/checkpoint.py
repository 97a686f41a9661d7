"""Checkpoints of a run: small, written whole or not at all, and verified by a sha256 when read."""

import hashlib
import logging
import struct
from pathlib import Path
from typing import Any, BinaryIO, cast

import torch
from lightning.fabric.plugins import CheckpointIO

from ft_lightning.system.errors import UserError
from ft_lightning.system.files import replacing, sweep

LAST, BEST = "last.ckpt", "best.ckpt"
_NO_COMMENT = b"\0\0"  # the last bytes of a file by torch.save: the length of its empty zip comment

log = logging.getLogger(__name__)


class DamagedCheckpointError(UserError):
    """A checkpoint whose bytes differ from those written."""


class SealedCheckpointIO(CheckpointIO):
    """Writes checkpoints that a kill, a crash or a full disk cannot truncate, and reads only intact ones.

    Each file holds the sha256 of its content as its zip comment, which `torch.save` leaves empty and zip readers
    ignore. As both are in one file, they can never mismatch.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write and read back; the old file stays until the new one is whole."""
        with replacing(Path(path)) as temporary, temporary.open("wb+") as file:
            writer = _Hashing(file)
            try:
                torch.save(checkpoint, cast(BinaryIO, writer))
            except RuntimeError as error:  # PyTorch wraps an error while writing
                raise (error.__context__ if isinstance(error.__context__, OSError) else error) from error
            file.seek(-len(_NO_COMMENT), 2)
            file.write(_seal(writer.digest.hexdigest()))
            file.flush()
            if not _is_whole(file):
                raise OSError("it reads back with other bytes than were written")

    def load_checkpoint(
        self, path: str | Path, map_location: Any = "cpu", weights_only: bool | None = True
    ) -> dict[str, Any]:
        """Load tensors and plain values from an intact file, without running any code in it."""
        path = Path(path)
        with path.open("rb") as file:
            if not _is_whole(file):
                raise DamagedCheckpointError(f"{path} is damaged or not a checkpoint of ft_lightning: delete it.")
        try:
            checkpoint = torch.load(path, map_location=map_location, weights_only=True)
        except (MemoryError, OSError):
            raise
        except Exception as error:  # torch raises many types for a damaged file
            hostile = type(error).__name__ == "UnpicklingError"
            reason = "holds more than tensors and plain values, which could run code" if hostile else "is damaged"
            raise DamagedCheckpointError(f"{path} {reason}: delete it.") from error
        for state in checkpoint.get("callbacks", {}).values():
            if isinstance(state, dict) and Path(state.get("best_model_path", "other")).name in (BEST, LAST, ""):
                _relocate(state, path.parent.resolve())
        return checkpoint

    def remove_checkpoint(self, path: str | Path) -> None:
        Path(path).unlink(missing_ok=True)


def newest_whole(folder: Path) -> Path | None:
    """Return last.ckpt, or best.ckpt with a warning if last.ckpt is damaged; None if there is none yet."""
    sweep(folder)
    present = [path for path in (folder / LAST, folder / BEST) if path.is_file()]
    for path in present:
        with path.open("rb") as file:
            if _is_whole(file):
                return path
        log.warning("%s is damaged and not used.", path)
    if present:
        raise DamagedCheckpointError(f"{folder} has no checkpoint that is whole: start a new run.")
    return None


class _Hashing:
    """A writable file that computes the digest of what is written."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.digest = hashlib.sha256()

    def write(self, data: bytes) -> int:
        self.digest.update(data)
        return self._file.write(data)

    def flush(self) -> None:
        self._file.flush()


def _is_whole(file: BinaryIO) -> bool:
    """Return whether a file ends with the seal of its content."""
    content = file.seek(0, 2) - len(_seal("")) - 64
    if content < 0:
        return False
    digest = hashlib.sha256()
    file.seek(0)
    while content and (part := file.read(min(content, 2**20))):
        digest.update(part)
        content -= len(part)
    digest.update(_NO_COMMENT)
    return file.read() == _seal(digest.hexdigest())


def _seal(digest: str) -> bytes:
    """Return a digest as a zip comment: its length in two bytes, then its text."""
    comment = b"sha256:" + digest.encode()
    return struct.pack("<H", len(comment)) + comment


def _relocate(state: dict[str, Any], folder: Path) -> None:
    """Update the folder in a ModelCheckpoint's state, because the run may have been moved."""

    def moved(path: str) -> str:
        return str(folder / Path(path).name) if path else path

    state["dirpath"] = str(folder)
    state["best_k_models"] = {moved(path): score for path, score in state["best_k_models"].items()}
    for key in ("best_model_path", "kth_best_model_path", "last_model_path"):
        state[key] = moved(state[key])
