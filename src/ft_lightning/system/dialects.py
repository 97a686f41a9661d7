"""How a CSV was written: what separates its columns, and what its quotes mean."""

import csv
import io
import logging
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from ft_lightning.system.errors import UserError

_LONGEST = 2**31 - 1  # characters of a cell, as far as the csv module counts on every system

log = logging.getLogger(__name__)


def separator_of(path: Path) -> tuple[str, bool]:
    """Return what separates the columns, and whether there is one column alone.

    Raises:
        UserError: two columns have one name; pandas would rename the second.
    """
    with path.open(encoding="utf-8-sig") as file:
        beginning = re.sub(r"\A\s*\n", "", file.read(1 << 16))
    line = beginning.partition("\n")[0]
    whole = re.match(r'(?:[^"\n]|"[^"]*")*', beginning)  # a quoted name may hold line breaks
    header = whole[0] if whole and not beginning[whole.end() :].startswith('"') else line
    bare = re.sub(r'"[^"]*"', "", header)  # and a comma
    separator = max(",\t;", key=bare.count)  # the first one where none is more frequent
    names = next(csv.reader(io.StringIO(header), delimiter=separator), [])
    refuse_twins(names, path)
    return separator, len(names) == 1


def quoting_of(path: Path, separator: str) -> Literal[0, 3]:
    """Return whether quotes enclose cells, or are letters, as in tables with tabs that know no quotes.

    Raises:
        ValueError: a cell goes on after its closing quote: pandas would read other cells than are there.
    """
    last, rows, wrong = 0, 0, ""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file, _cells_of_any_length():
            if not any('"' in line for line in file):
                return csv.QUOTE_MINIMAL
            file.seek(0)
            for number, row in enumerate(csv.reader(file, delimiter=separator, strict=True), start=1):
                last, rows = number, rows + any(map(str.strip, row))
    except csv.Error as error:
        never = "end of data" in str(error)
        what = "a quote is opened and never closed" if never else "a cell goes on after its closing quote"
        wrong = f'row {last + 1}: {what}; within quotes, write a quote twice ("")'
    if separator == "\t":
        with path.open(encoding="utf-8-sig") as file:
            tabs = Counter(line.count("\t") for line in file if line.strip())
        if len(tabs) == 1 and tabs.total() != rows:
            log.warning("%s: its quotes are read as letters: with them so, each line is a row.", path)
            return csv.QUOTE_NONE
    if wrong:
        raise ValueError(wrong)
    return csv.QUOTE_MINIMAL


@contextmanager
def _cells_of_any_length() -> Iterator[None]:
    usual = csv.field_size_limit(_LONGEST)
    try:
        yield
    finally:
        csv.field_size_limit(usual)


def numbers_of(path: Path, separator: str, quoting: Literal[0, 3], is_single: bool) -> list[int] | None:
    """Return which row of a spreadsheet each row is, the header among them; None if there are no blank lines.

    Args:
        is_single: a blank line between others is the empty cell of a single column, and no blank line.
    """
    with path.open(encoding="utf-8-sig", newline="") as file, _cells_of_any_length():
        if all(map(str.strip, file)):
            return None
        file.seek(0)
        rows = enumerate(csv.reader(file, delimiter=separator, quoting=quoting), start=1)
        filled = [number for number, row in rows if len(row) > 1 or (row and row[0].strip())]
    return list(range(filled[0], filled[-1] + 1)) if is_single and filled else filled


def without_blank_ends(path: Path) -> io.StringIO:
    """Return a file without the blank lines at its beginning and end."""
    return io.StringIO(re.sub(r"\A(\s*\n)+|(\n\s*)+\Z", "", path.read_text(encoding="utf-8-sig")))


def refuse_twins(columns: Iterable[str], path: Path) -> None:
    """Raise UserError if two columns have one name but for blanks at its ends."""
    names = Counter(name.strip() for name in columns)
    if twice := [name for name, count in names.items() if name and count > 1]:
        raise UserError(f"{path}: two columns are called {twice[0]!r}: rename or remove one.")
