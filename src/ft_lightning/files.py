"""Writing a file whole or not at all, sweeping up after those that could not, and knowing a file again."""

import hashlib
import os
import platform
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_A_DAY = 24 * 60 * 60


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place when the block ends, and is gone when the block fails.

    After a crash, of the process or of the machine, `path` holds all of the old content or all of the new.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}@{platform.node()}.tmp")
    try:
        yield temporary
        _to_disk(temporary, os.O_RDWR)
        temporary.replace(path)
        if os.name == "posix":  # elsewhere a folder cannot be opened
            _to_disk(path.parent, os.O_RDONLY)
    finally:
        temporary.unlink(missing_ok=True)


def sweep(folder: Path) -> None:
    """Remove what `replacing` left in a folder when its process was killed: dead on this host, or over a day ago."""
    for path in folder.glob(".*.tmp"):
        if written_by := re.search(r"\.(\d+)@(.*)\.tmp$", path.name):
            with suppress(OSError):  # gone meanwhile: renamed by its process, or swept by another
                old = time.time() - path.stat().st_mtime > _A_DAY
                if old or (written_by[2] == platform.node() and not _is_alive(int(written_by[1]))):
                    path.unlink()


def sha256(path: str | Path) -> str:
    """The digest of a file's bytes, in hexadecimal."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _to_disk(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _is_alive(pid: int) -> bool:
    if os.name != "posix":  # where signal 0 would end the process
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
