"""Writes files and folders whole or not at all, cleans up after killed processes, claims folders, computes sha256."""

import glob
import hashlib
import json
import logging
import os
import platform
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ft_lightning.system.errors import UserError

try:
    import fcntl
except ImportError:
    fcntl = None  # type: ignore[assignment]

log = logging.getLogger(__name__)

_A_DAY = 24 * 60 * 60
_claims: set[int] = set()  # descriptors


class UnwritableError(UserError, OSError):
    """A path that cannot be written to: disk full, read-only, or a file where a folder should be."""

    def __init__(self, path: Path, reason: object) -> None:
        super().__init__(f"{path} cannot be written ({reason}). Make room there, or name another place.")

    def __reduce__(self) -> tuple:  # pickled, because the error of one process is raised in the others too
        return UserError, (str(self),)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; it replaces `path` when the block ends, and is removed if the block fails.

    The block creates a file or a folder there. After a crash of the process or the machine, `path` holds all of the old
    content or all of the new (or nothing, if a folder replaces another). An OSError in the block or after it becomes an
    UnwritableError.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}@{platform.node()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove(temporary)
        yield temporary
        _open_as_usual(temporary)
        _to_disk(temporary)
        if path.is_dir() and temporary.is_dir():  # never remove a folder to write a file
            shutil.rmtree(path)
        temporary.replace(path)
        _to_disk(path.parent, content=False)
    except UnwritableError:
        raise
    except OSError as error:
        raise UnwritableError(path, error.strerror or error) from error
    finally:
        with suppress(OSError):
            _remove(temporary)


def matches(path: Path) -> list[Path]:
    """Return what a glob matches, sorted; folders that exist as they are written may have brackets in their names."""
    if path.exists():
        return [path]
    literal = next(parent for parent in path.parents if parent.is_dir())
    pattern = Path(glob.escape(str(literal))) / path.relative_to(literal)
    return sorted(map(Path, glob.glob(str(pattern), recursive=True)))  # noqa: PTH207 (Path.glob takes no absolute pattern)


def damaged(path: Path, reason: object) -> UserError:
    """Build the error for a file that cannot be read."""
    return UserError(f"{path} is damaged ({' '.join(str(reason).split())}): put it back as it was, or make it anew.")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON file that holds an object; raise UserError if it is missing or damaged."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file.") from None
    except (OSError, ValueError, RecursionError) as error:
        raise damaged(path, error) from error
    if not isinstance(content, dict):
        raise damaged(path, "it has no keys")
    return content


def write_json(path: Path, content: dict[str, Any] | list[Any]) -> None:
    """Write JSON so that a reader finds the whole file or none."""
    with replacing(path) as temporary:
        text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
        temporary.write_text(f"{text}\n", encoding="utf-8")


@contextmanager
def claimed(folder: Path, wait: bool | str = False) -> Iterator[None]:
    """Lock a folder for this process while the block runs; the system releases it even after a kill.

    Args:
        wait: for another process that holds it, after logging `wait` if it is a sentence; False raises UserError.
    """
    if fcntl is None:  # on Windows
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    _claims.add(descriptor)
    try:
        try:
            _lock(descriptor, wait)
        except BlockingIOError:
            raise UserError(f"{folder} is in use by another process: wait for it, or end it first.") from None
        except OSError:  # a file system without locks
            pass
        yield
    finally:
        _claims.discard(descriptor)
        os.close(descriptor)


def _lock(descriptor: int, wait: bool | str) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        if not wait:
            raise
        if isinstance(wait, str):
            log.warning(wait)
        fcntl.flock(descriptor, fcntl.LOCK_EX)


def _release_claims() -> None:
    while _claims:
        os.close(_claims.pop())


if hasattr(os, "register_at_fork"):  # otherwise reading processes would keep the lock of a killed parent
    os.register_at_fork(after_in_child=_release_claims)


def sweep(folder: Path) -> None:
    """Remove the temporary files of killed processes in a folder: dead on this host, or older than a day."""
    from psutil import pid_exists

    for path in folder.glob(".*.tmp"):
        if written_by := re.search(r"\.(\d+)@([^@]*)\.tmp$", path.name):
            with suppress(OSError):  # renamed by its process or swept by another meanwhile
                old = time.time() - path.stat().st_mtime > _A_DAY
                if old or (written_by[2] == platform.node() and not pid_exists(int(written_by[1]))):
                    _remove(path)


def sha256(path: str | Path) -> str:
    """Compute the sha256 of a file's bytes, in hexadecimal."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _to_disk(path: Path, content: bool = True) -> None:
    """Sync a file, or a folder and, with `content`, everything in it, so that it survives a power cut."""
    if is_folder := path.is_dir():
        for inside in path.iterdir() if content else ():
            _to_disk(inside)
        if os.name != "posix":  # Windows cannot open a folder
            return
    descriptor = os.open(path, os.O_RDONLY if is_folder else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _open_as_usual(path: Path) -> None:
    """Give a file, or each file in a folder, the mode that the umask says, where a library made it private."""
    for file in path.rglob("*") if path.is_dir() else [path]:
        if file.is_file() and not file.stat().st_mode & 0o077:
            usual = file.with_name(f".{file.name}.{os.getpid()}@{platform.node()}.tmp")  # `sweep` finds it after a kill
            usual.touch()  # the only way to ask for the umask without changing it for other threads
            file.chmod(usual.stat().st_mode)
            usual.unlink()


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
