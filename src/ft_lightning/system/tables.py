"""Reads and writes tables, .csv or .jsonl: whole or not at all, and harmless in a spreadsheet."""

import csv
import json
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

import pandas as pd

from ft_lightning.system.dialects import numbers_of, quoting_of, refuse_twins, separator_of, without_blank_ends
from ft_lightning.system.errors import UserError
from ft_lightning.system.files import replacing

pd.options.mode.string_storage = "python"  # pyarrow's strings, where it is installed, hold no undecodable file names

_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # a spreadsheet runs a cell that starts with one of these
_KINDS = (".csv", ".jsonl")
_PLACES = "places"  # of the rows of JSON in their file: blank lines are no rows
_NUMBERS = "numbers"  # of the rows of a CSV in a spreadsheet: blank lines are rows there
_JSON = (".jsonl", ".json", ".ndjson")
# Of which it is said what to do with them, by their suffix.
_OTHERS = dict.fromkeys((".xlsx", ".xls", ".ods", ".numbers"), "save it as CSV UTF-8 (.csv)")
_OTHERS |= dict.fromkeys((".arrow", ".feather", ".orc"), "save it as Parquet (.parquet)")
_OTHERS |= dict.fromkeys((".gz", ".bz2", ".xz", ".zst", ".zip", ".7z", ".tar", ".tgz"), "unpack it")
TABLES = (".csv", ".tsv", ".tab", ".parquet", *_JSON, *_OTHERS)  # which are no texts themselves


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
        as_is: keep the apostrophes that `write_table` puts before a formula: in a table of texts they are the user's,
            but for a predictions.csv of `predict`, which may be corrected and learnt from.
    """
    suffix = path.suffix.lower()
    if path.exists() and not path.is_file():  # reading a named pipe would wait for ever
        raise UserError(f"{path} is no table: it is {'a folder' if path.is_dir() else 'not a file'}.")
    if fix := _OTHERS.get(suffix):
        raise UserError(f"{path} is no table that is read here: {fix}.")
    try:
        if suffix in _JSON:
            return _named(_read_json(path), path)
        if suffix == ".parquet":
            return _named(_read_parquet(path), path)
        return _named(_read_csv(path, columns, as_is), path)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file.") from None
    except ImportError as error:
        raise UserError(f"{path}: Parquet is read by another package: pip install pyarrow.") from error
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path} is not UTF-8 ({error}): save it as {'' if suffix in _JSON else 'CSV '}UTF-8."
        ) from error
    except (ValueError, OSError, RecursionError, csv.Error) as error:
        raise UserError(f"{path} is not a table: {error}") from error


def _named(table: pd.DataFrame, path: Path) -> pd.DataFrame:
    """Return a table whose columns' names have no blanks at their ends; raise UserError if two have one name."""
    table = table.rename(columns=lambda name: str(name).strip())
    refuse_twins(table.columns, path)
    return table


def _read_csv(path: Path, columns: Sequence[str] | None, as_is: bool) -> pd.DataFrame:
    """Read a CSV, whatever separates its columns; see `read_table`."""
    separator, is_single = separator_of(path)
    quoting = quoting_of(path, separator)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            table = pd.read_csv(
                without_blank_ends(path) if is_single else path,
                sep=separator,
                usecols=list(columns) if columns else None,
                dtype=str,
                keep_default_na=False,
                encoding="utf-8-sig",
                index_col=False,
                quoting=quoting,
                skip_blank_lines=not is_single,  # a blank line is the empty cell of a single column
            )
    except pd.errors.EmptyDataError:
        raise UserError(f"{path} is not a table: it is empty.") from None
    except (pd.errors.ParserWarning, pd.errors.ParserError) as error:
        which = f" ({text})" if (text := str(error).strip().partition("C error: ")[2]) else ""
        raise UserError(
            f"{path}: rows have more cells than the header{which}; name every column, drop the last comma, or put "
            f'cells that hold a "{separator}" in quotes.'
        ) from None
    table = table.rename(columns=_restore)
    is_of_predict = {"path", "error"} <= set(map(str.strip, table.columns))  # where texts that need one have it
    table = table if as_is and not is_of_predict else table.map(_restore)
    table.attrs[_NUMBERS] = (numbers_of(path, separator, quoting, is_single) or [])[1:]
    return table


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
    if len(rows) == 1 and len(table.columns) > 1 and all(map(_is_column, table.iloc[0])):
        raise ValueError("it is one object of columns: write a list of objects, or an object a line")
    return table


def json_place(table: pd.DataFrame, position: int) -> str:
    """Say where a row stands in the file of JSON that it was read from, such as line 3; empty for other tables."""
    places = table.attrs.get(_PLACES)
    return places[position] if places else ""


def row_numbers(table: pd.DataFrame) -> Sequence[int]:
    """Return the number of each row as a spreadsheet counts them: the header is the first, blank lines count too.

    Those of JSON are counted as if they had a header and no blank lines, as earlier runs have named them.
    """
    numbers: list[int] = table.attrs.get(_NUMBERS, [])
    return numbers if len(numbers) == len(table) else range(2, len(table) + 2)


def place_of(table: pd.DataFrame, position: int) -> str:
    """Say where a row stands in the file that it was read from: line 3 of JSON lines, row 3 of others."""
    return json_place(table, position) or f"row {row_numbers(table)[position]}"


def _listed(text: str) -> list[tuple[str, Any]] | None:
    """Return the entries of a text that is one list, each with its place; None of another text."""
    if not text.lstrip().startswith("["):
        return None
    try:
        rows = json.loads(text, object_pairs_hook=_object)
    except json.JSONDecodeError:  # lines, of which the first is a list
        return None
    return [(f"entry {number}", row) for number, row in enumerate(rows, start=1)]


def _is_column(value: object) -> bool:
    """Return whether a value holds those of many rows, and no messages, which are a list of objects."""
    return isinstance(value, dict | list) and not any(isinstance(each, dict) for each in value)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object of JSON; ValueError if it has a key twice, of which the last would count."""
    made = dict(pairs)
    if len(made) < len(pairs):
        twice = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        raise ValueError(f"an object has the key {twice!r} twice")
    return made


def _of_line(number: int, line: str) -> Any:
    try:
        return json.loads(line.rstrip(), object_pairs_hook=_object)  # pandas' own reader loses the last digits
    except json.JSONDecodeError as error:
        raise ValueError(f"line {number} is not JSON: {error.msg} (character {error.colno})") from None
    except ValueError as error:
        raise ValueError(f"line {number}: {error}") from None


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
