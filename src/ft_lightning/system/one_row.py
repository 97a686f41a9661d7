"""The terminal while a job of a multirun works: a single row, the last thing that the job has said."""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from rich.cells import cell_len, set_cell_size

from ft_lightning.system.console import console
from ft_lightning.system.streams import CONTROL

_BAR = re.compile(r"[━╸╺]+ ?")
_ERASE = "\r\x1b[K"
_rows: list["_Row"] = []  # the one that is shown; global, because what a job prints knows nothing of it
_said: set[str] = set()


@contextmanager
def one_row(head: str) -> Iterator[None]:
    """Show of standard output only its last row, after `head`, and nothing at the end; without a terminal nothing.

    Standard error is shown, warnings that several jobs repeat only once. What `streams.guarded` copies to a log within
    the block is not changed.
    """
    before = sys.stdout, sys.stderr
    row = _Row(sys.stdout, head)
    sys.stdout, sys.stderr = row, _Beside(sys.stderr, row)
    _rows.append(row)
    try:
        yield
    finally:
        _rows.remove(row)
        sys.stdout, sys.stderr = before
        row.erase()


@contextmanager
def aloud(text: str) -> Iterator[None]:
    """Show what is printed in the block although a row is shown, unless an earlier job has said the same `text`."""
    hushed = [row for row in _rows if text not in _said]
    _said.update([text] * len(hushed))
    for row in hushed:
        row.erase()
        row.aloud = True
    try:
        yield
    finally:
        for row in hushed:
            row.aloud = False


class _Row:
    """A text stream of which a terminal shows the last row."""

    def __init__(self, stream: TextIO, head: str) -> None:
        self._stream, self._head = stream, head
        self._drawn = False
        self.aloud = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        if self.aloud:
            return self._stream.write(text)
        plain = CONTROL.sub(lambda control: "\n" if control[0] in "\r\n" else "", text)
        rows = [row for row in plain.split("\n") if row.strip()]
        if rows and self._stream.isatty():
            said = f"{self._head}  {_BAR.sub('', rows[-1]).strip()}"
            width = console.width - 1  # in the last column a terminal begins a new row
            self._drawn = True
            self._stream.write(_ERASE + (set_cell_size(said, width) if cell_len(said) > width else said))
            self._stream.flush()
        return len(text)

    def erase(self) -> None:
        if self._drawn:
            self._stream.write(_ERASE)
            self._stream.flush()
        self._drawn = False


class _Beside:
    """A text stream that erases the row before it writes; what is no error is shown once, by the first job."""

    def __init__(self, stream: TextIO, row: _Row) -> None:
        self._stream, self._row = stream, row
        self._own: set[str] = set()  # what this job has said
        self._dropped = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        if not text.strip() and self._dropped:  # the end of its line, which `print` writes by itself
            return len(text)
        is_error = text.startswith("error:") or "Traceback (" in text
        self._dropped = bool(text.strip()) and text in _said - self._own and not is_error
        if self._dropped:
            return len(text)
        self._own.update({text} - _said)
        _said.add(text)
        self._row.erase()
        return self._stream.write(text)
