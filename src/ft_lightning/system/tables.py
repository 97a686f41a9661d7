"""Reads and writes tables, .csv or .jsonl: whole or not at all, and harmless in a spreadsheet."""

import csv
import json
import re
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

import pandas as pd

from ft_lightning.system.errors import UserError
from ft_lightning.system.files import replacing

pd.options.mode.string_storage = "python"  # pyarrow's strings, where it is installed, hold no undecodable file names

_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # a spreadsheet runs a cell that starts with one of these
_KINDS = (".csv", ".jsonl")
_PLACES = "places"  # of the rows of JSON in their file: blank lines are no rows
# Of which it is said how to save them, by their suffix.
OTHER_TABLES = dict.fromkeys((".xlsx", ".xls", ".ods", ".numbers"), "CSV UTF-8 (.csv)")
OTHER_TABLES |= dict.fromkeys((".arrow", ".feather", ".orc"), "Parquet (.parquet)")


def write_table(table: pd.DataFrame, path: Path) -> None:
    """Write a table as .csv or .jsonl, by the suffix: UTF-8, numbers with full precision.

    In CSV, text that a spreadsheet would run as a formula gets an apostrophe in front, which `read_table` removes.
    """
    check_kind(path)
    # File names may hold bytes that are not text: write them as \udcxx rather than fail after hours of work.
    with (
        replacing(path) as temporary,
        temporary.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file,
    ):
        (_write_csv if path.suffix == ".csv" else _write_jsonl)(table, file)


def read_table(path: Path, columns: Sequence[str] | None = None, as_is: bool = False) -> pd.DataFrame:
    """Read a file of `write_table`, any CSV, JSON lines, JSON or Parquet; text stays text, empty cells are empty text.

    Semicolons and tabs, with which some spreadsheets save a CSV, are accepted too.

    Args:
        columns: the only columns to read from a CSV; for tables with a column for each class.
        as_is: keep the apostrophes that `write_table` puts before a formula: in a table of texts they are the user's.
    """
    if path.exists() and not path.is_file():  # reading a named pipe would wait for ever
        raise UserError(f"{path} is no table: it is {'a folder' if path.is_dir() else 'not a file'}.")
    try:
        if fix := OTHER_TABLES.get(path.suffix.lower()):
            raise UserError(f"{path} is no table that is read here: save it as {fix}.")
        if path.suffix.lower() in (".jsonl", ".json"):
            return _read_json(path)
        if path.suffix.lower() == ".parquet":
            return _read_parquet(path)
        separator = _separator(path)
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            table = pd.read_csv(
                path,
                sep=separator,
                usecols=list(columns) if columns else None,
                dtype=str,
                keep_default_na=False,
                encoding="utf-8-sig",
                index_col=False,
            )
    except pd.errors.EmptyDataError:
        raise UserError(f"{path} is not a table: it is empty.") from None
    except pd.errors.ParserWarning:
        raise UserError(
            f"{path}: rows have more cells than the header; name every column, or drop the last comma."
        ) from None
    except FileNotFoundError:
        raise UserError(f"{path}: no such file.") from None
    except ImportError as error:
        raise UserError(f"{path}: Parquet is read by another package: pip install pyarrow.") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 ({error}): save it as CSV UTF-8.") from error
    except (ValueError, OSError, RecursionError, csv.Error) as error:
        raise UserError(f"{path} is not a table: {error}") from error
    table = table.rename(columns=lambda name: _restore(name).strip())
    return table if as_is else table.map(_restore)


def _read_parquet(path: Path) -> pd.DataFrame:
    """Read Parquet; whole numbers stay whole beside missing ones, and an index that has a name is a column."""
    table = pd.read_parquet(path, dtype_backend="numpy_nullable")
    return table.reset_index() if any(name is not None for name in table.index.names) else table


def _read_json(path: Path) -> pd.DataFrame:
    """Read JSON lines, or a list of objects; numbers stay as they are written, also beside missing ones."""
    text = path.read_text(encoding="utf-8-sig")
    lines = ((number, line) for number, line in enumerate(text.split("\n"), start=1) if line.strip())
    rows = _listed(text)
    rows = [(f"line {number}", _of_line(number, line)) for number, line in lines] if rows is None else rows
    for place, row in rows:
        if not isinstance(row, dict):
            raise ValueError(f'{place} holds something else than an object, such as {{"path": "a.png"}}')
    table = pd.DataFrame([row for _, row in rows], dtype=object)
    table.attrs[_PLACES] = [place for place, _ in rows]
    return table


def json_place(table: pd.DataFrame, position: int) -> str:
    """Say where a row stands in the file of JSON that it was read from, such as line 3; empty for other tables."""
    places = table.attrs.get(_PLACES)
    return places[position] if places else ""


def _listed(text: str) -> list[tuple[str, Any]] | None:
    """Return the entries of a text that is one list, each with its place; None of another text."""
    if not text.lstrip().startswith("["):
        return None
    try:
        rows = json.loads(text)
    except json.JSONDecodeError:  # lines, of which the first is a list
        return None
    return [(f"entry {number}", row) for number, row in enumerate(rows, start=1)]


def _of_line(number: int, line: str) -> Any:
    try:
        return json.loads(line.rstrip())  # pandas' own reader loses the last digits
    except json.JSONDecodeError as error:
        raise ValueError(f"line {number} is not JSON: {error.msg} (character {error.colno})") from None


def _separator(path: Path) -> str:
    """Return what separates the columns; raise UserError if two have one name, as pandas would rename the second."""
    with path.open(encoding="utf-8-sig") as file:
        header = next((line for line in file if line.strip()), "")
    bare = re.sub(r'"[^"]*"', "", header)  # a quoted name may hold a comma
    separator = max(",\t;", key=bare.count)  # the first one where none is more frequent
    names = Counter(name.strip() for row in csv.reader([header], delimiter=separator) for name in row)
    if twice := [name for name, count in names.items() if name and count > 1]:
        raise UserError(f"{path}: two columns are called {twice[0]!r}: rename or remove one.")
    return separator


def _write_csv(table: pd.DataFrame, file: TextIO) -> None:
    safe = table.rename(columns=_defuse)
    for column in safe.columns[[not pd.api.types.is_numeric_dtype(kind) for kind in safe.dtypes]]:
        safe[column] = safe[column].map(_defuse)
    safe.to_csv(file, index=False)


def _write_jsonl(table: pd.DataFrame, file: TextIO) -> None:
    # pandas' own writer rounds to 15 digits and escapes every slash in a path.
    for row in table.astype(object).where(table.notna(), None).to_dict("records"):
        file.write(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n")


def check_kind(path: Path) -> None:
    """Raise UserError for a suffix other than .csv or .jsonl."""
    if path.suffix not in _KINDS:
        raise UserError(f"{path}: tables are written as .csv or .jsonl, by the suffix.")


def _defuse(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and value.lstrip("'").startswith(_FORMULA) else value


def _restore(value: str) -> str:
    return value[1:] if value.startswith("'") and value.lstrip("'").startswith(_FORMULA) else value
