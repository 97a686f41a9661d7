"""Standard output and error that never end the work, and the copy of what they showed in log.txt."""

import os
import re
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

_ROWS = 10  # above the cursor of a terminal, which a progress bar may still redraw
CONTROL = re.compile(r"[\r\n]|\x1b\[[\d;?]*[A-Za-z]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)")


@contextmanager
def guarded(whole_process: bool = False) -> Iterator[None]:
    """Let nothing that is printed end the block: no text that the terminal cannot encode, no closed pipe, no full disk.

    Args:
        whole_process: whether the process ends with the block, so that its streams may be closed if they fail.
    """
    before = sys.stdout, sys.stderr
    guards = [_Guard(stream, whole_process) for stream in before]
    sys.stdout, sys.stderr = guards
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before
        for guard, stream in zip(guards, before, strict=True):
            guard.flush()
            if stream is None:
                guard.close()
        if guards[0].copy:
            guards[0].copy.close()


def log_to(path: Path) -> None:
    """Append what is printed from now on, in the innermost guarded block, to a file, if it can be written."""
    guards = [stream for stream in (sys.stdout, sys.stderr) if isinstance(stream, _Guard)]
    copy = _Copy(path, keep=_ROWS if any(guard.isatty() for guard in guards) else 0)
    for guard in guards:
        guard.copy = copy


def drop_log() -> None:
    """Take back what the innermost guarded block has logged, and log no more."""
    guards = [stream for stream in (sys.stdout, sys.stderr) if isinstance(stream, _Guard)]
    if guards and guards[0].copy:
        guards[0].copy.take_back()
    for guard in guards:
        guard.copy = None


class _Guard:
    """A text stream that raises nothing: what cannot be encoded is escaped, what cannot be written is lost."""

    def __init__(self, stream: TextIO | None, may_close: bool) -> None:
        # None: it was closed before Python began; its descriptor must not become that of another file.
        self._stream = stream or os.fdopen(os.open(os.devnull, os.O_WRONLY), "w")
        self.copy: _Copy | None = None
        self._may_close = may_close

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        if self.copy:
            self.copy.write(text)
        try:
            self._stream.write(self._encodable(text))
        except (OSError, ValueError):  # ValueError: somebody has closed it
            self._lose()
        return len(text)

    def _encodable(self, text: str) -> str:
        """Escape what the stream cannot encode, before it tries: an encoder with a state would lose it."""
        encoding: str = getattr(self._stream, "encoding", None) or ""
        try:
            if encoding and not text.isascii():
                text.encode(encoding, getattr(self._stream, "errors", None) or "strict")
        except UnicodeEncodeError:
            return text.encode(encoding, "backslashreplace").decode(encoding)
        return text

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except (OSError, ValueError):
            self._lose()

    def _lose(self) -> None:
        """Send the rest nowhere: Python flushes its buffer at the end, and would report the error then."""
        if self._may_close:
            with suppress(OSError, ValueError):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, self._stream.fileno())
                os.close(nowhere)


class _Copy:
    """Appends to a file what a terminal shows in the end: a progress bar is one line, however often it was drawn.

    It follows the few controls that progress bars use and drops the others, such as colours.

    Args:
        keep: rows above the cursor that may still change; they are missing after a kill.
    """

    def __init__(self, path: Path, keep: int) -> None:
        self._path = path
        self._before = path.stat().st_size if path.is_file() else None
        self._descriptor: int | None = None
        with suppress(OSError):
            self._descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        self._keep = keep
        self._rows = [""]
        self._cursor = 0  # its row
        self._overwrites = False  # text comes in place of the row's
        self._process, self._lock = os.getpid(), threading.Lock()

    def write(self, text: str) -> None:
        if os.getpid() != self._process:  # a fork may have copied a locked lock
            return
        with self._lock:
            end = 0
            for control in CONTROL.finditer(text):
                self._put(text[end : control.start()])
                self._obey(control[0])
                end = control.end()
            self._put(text[end:])
            self._append(max(0, self._cursor - self._keep))

    def close(self) -> None:
        with self._lock:
            self._append(len(self._rows) if self._rows[-1] else len(self._rows) - 1)
            if self._descriptor is not None:
                os.close(self._descriptor)
            self._descriptor = None

    def take_back(self) -> None:
        self.close()
        with suppress(OSError):
            self._path.unlink() if self._before is None else os.truncate(self._path, self._before)

    def _put(self, text: str) -> None:
        if text:
            self._rows[self._cursor] = text if self._overwrites else self._rows[self._cursor] + text
            self._overwrites = False

    def _obey(self, control: str) -> None:
        count = int(digits[0]) if (digits := re.findall(r"\d+", control)) else 1
        if control == "\n":
            self._cursor += 1
            self._rows += [""] * (self._cursor == len(self._rows))
        elif control.startswith("\x1b[") and control.endswith("A"):  # upwards
            self._cursor = max(0, self._cursor - count)
        elif control.startswith("\x1b[") and control.endswith("K"):  # erases the row
            self._rows[self._cursor] = ""
        self._overwrites |= control in "\r\n"

    def _append(self, count: int) -> None:
        """Write the first rows to the file and forget them."""
        done, self._rows = self._rows[:count], self._rows[count:] or [""]
        self._cursor = max(0, self._cursor - count)
        if done and self._descriptor is not None:
            text = "".join(f"{row.rstrip()}\n" for row in done)
            with suppress(OSError):
                os.write(self._descriptor, text.encode("utf-8", "backslashreplace"))
