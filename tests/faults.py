"""Faults on purpose. Run as a program it is the train command whose n-th write below a folder meets one:

python tests/faults.py <n> <kill | ENOSPC | EIO | ...> <folder> <override>...
"""

import errno
import io
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock


@contextmanager
def failing_write(number: int, fault: str, folder: Path) -> Iterator[Callable[[], int]]:
    """Count what `files.replacing` asks of the system below a folder, and have the `number`-th operation go wrong.

    The operations are making a folder, opening for writing, each write of PyTorch's, fsync and rename.

    Args:
        fault: "kill" for kill -9 in place of the operation, or the name of an error number that it fails with.

    Yields:
        How many operations there were.
    """
    count = 0

    def counted(path: Any) -> None:
        nonlocal count
        where = Path(f"/proc/self/fd/{path}").readlink() if isinstance(path, int) else Path(path).absolute()
        if not where.is_relative_to(folder):
            return
        count += 1
        if count == number and fault == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif count == number:
            code = getattr(errno, fault)
            raise OSError(code, os.strerror(code), str(where))

    def before(function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(path: Any, *args: Any, **kwargs: Any) -> Any:
            counted(path)
            return function(path, *args, **kwargs)

        return wrapped

    original = io.open

    def opened(path: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        if set(mode) & set("wax+"):
            counted(path)
        return original(path, mode, *args, **kwargs)

    with (
        mock.patch("os.mkdir", before(os.mkdir)),
        mock.patch("os.fsync", before(os.fsync)),
        mock.patch("os.replace", before(os.replace)),
        mock.patch("io.open", opened),
    ):
        yield lambda: count


if __name__ == "__main__":
    from ft_lightning.cli import command
    from ft_lightning.train import VERB

    at, name, below, *overrides = sys.argv[1:]
    sys.argv[1:] = overrides
    with failing_write(int(at), name, Path(below)):
        command.run(VERB)
