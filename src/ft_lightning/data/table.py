"""Lists the labelled images of a CSV, and reports what is wrong with it; a run's split.csv is such a table.

Tables of texts and of conversations are read by the same rules: their labels, weights, splits and groups.
"""

import logging
import math
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from pandas.api.types import is_scalar

from ft_lightning.data.labels import Cells
from ft_lightning.data.scan import SPLITS, Entry, Listing, absolute, split_called
from ft_lightning.system.errors import UserError, name_few, number_of
from ft_lightning.system.tables import json_place, place_of, read_table, row_numbers

_HEAVIEST = 1e30  # a weight; the sum of a split's must be a float32
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")

log = logging.getLogger(__name__)


def list_table(
    table: Path, root: Path | None, label: str | Sequence[str] | None = None, weight: str | None = None
) -> Listing:
    """List a CSV with the columns path, label and, optionally, split and group.

    Args:
        root: where relative paths start; None: at the table's own folder.
        label: the column, or the columns, of the label; None: the one called label.
        weight: the column of the samples' weights; None: all count alike.
    """
    where = f"data.csv={table}"
    rows, label = _with_label(read_table(table), label, where)
    refuse_lacking(rows, ["path"], "", where)
    labels, weights = columns_of(rows, label, weight, where)
    _tell_other_case(rows, where)
    rows = rows.reindex(columns=["path", "split", "group"], fill_value="").map(cell_text)
    if without := [at for at, value in enumerate(rows["path"]) if not value.strip()]:
        raise UserError(f"{where}: {place_of(rows, without[0])} has no path ({number_of(len(without), 'such row')}).")
    if addresses := [path for path in rows["path"] if _ADDRESS.match(path)]:
        raise UserError(
            f"{where}: {number_of(len(addresses), 'path is an address', 'paths are addresses')}: {name_few(addresses)}."
            " Download them, and write the paths of the files."
        )
    base = absolute(root or table.parent)
    rows["path"] = paths = [str(absolute(_place(path, base))) for path in rows["path"]]
    rows["split"] = splits_of(rows["split"], where)
    if not any(map(os.path.exists, paths)):  # Path.exists raises where a name is too long
        raise UserError(
            f"{where} names {number_of(len(paths), 'file')}, none of which exists: {name_few(paths)}. Set data.root."
        )
    listed = zip(rows["path"], labels, rows["split"], rows["group"], weights, strict=True)
    return Listing(
        [Entry(path, cells, split or None, group or None, w) for path, cells, split, group, w in listed], base
    )


def refuse_lacking(rows: pd.DataFrame, columns: Sequence[str], key: str, where: str) -> None:
    """Raise UserError for a table without rows, or without a column that a key names."""
    if len(rows.columns) == 0:
        raise UserError(f"{where} has no rows.")
    for column in columns:
        if column not in rows.columns:
            fix = f" {key} names another." if key else ""
            raise UserError(f"{where}: no column {column!r}; it has {', '.join(map(str, rows.columns))}.{fix}")
    if len(rows) == 0:
        raise UserError(f"{where} has no rows.")


def columns_of(
    rows: pd.DataFrame, label: str | Sequence[str] | None, weight: str | None, where: str
) -> tuple[list[Cells], list[float]]:
    """Return the label and the weight of each row; arguments as in `list_table`."""
    named: str | Sequence[str] = "label" if label is None else label
    columns = [named] if isinstance(named, str) else list(named)
    refuse_lacking(rows, columns, "data.label", where)
    for at, values in enumerate(rows[columns].itertuples(index=False, name=None)):
        if strange := not_texts(values):
            fix = "write several labels as one text, with data.label_sep between them"
            raise UserError(f"{where}: the label of {place_of(rows, at)} is {strange}: {fix}.")
    cells = rows[columns].map(cell_text)
    labels: list[Any] = cells[named].tolist() if isinstance(named, str) else cells.to_dict("records")
    return labels, weights_of(rows, weight, where)


def weights_of(rows: pd.DataFrame, weight: str | None, where: str) -> list[float]:
    """Return the weight of each row, by the column of that name; 1 without one."""
    if not weight:
        return [1.0] * len(rows)
    refuse_lacking(rows, [weight], "data.weight", where)
    cells = rows[weight].map(cell_text)
    weights = [_number(cell) for cell in cells]
    for at, (cell, value) in enumerate(zip(cells, weights, strict=True)):
        if not 0 <= value <= _HEAVIEST:
            raise UserError(
                f"{where}, {weight}: {place_of(rows, at)} has the weight {cell!r}; use a number from 0 to "
                f"{_HEAVIEST:g}."
            )
    if not any(weights):
        raise UserError(f"{where}, {weight}: all weights are 0, so nothing would be trained on.")
    return weights


def listing_of(
    table: Path,
    rows: pd.DataFrame,
    labels: Sequence[Cells],
    weights: Sequence[float],
    read: Sequence[tuple[Any, str]],
    where: str,
) -> Listing:
    """Return the rows of a table as entries, with its columns split and group.

    Args:
        read: of each row its content, and why there is none.
    """
    _tell_other_case(rows, where)
    groups = rows["group"].map(cell_text) if "group" in rows else [""] * len(rows)
    splits = splits_of(rows["split"].map(cell_text), where) if "split" in rows else [""] * len(rows)
    said = [f"{why} ({place})" if why and (place := json_place(rows, at)) else why for at, (_, why) in enumerate(read)]
    names = [f"{absolute(table)}#{number}" for number in row_numbers(rows)]
    cells = zip(names, labels, weights, splits, groups, read, said, strict=True)
    return Listing(
        [
            Entry(name, cell, split or None, group or None, w, content, problem)
            for name, cell, w, split, group, (content, _), problem in cells
        ],
        absolute(table).parent,
    )


def _tell_other_case(rows: pd.DataFrame, where: str) -> None:
    """Warn of a column such as Split, which is not read."""
    for name in sorted({"split", "group"}.difference(rows.columns)):
        if others := [column for column in rows.columns if column.casefold() == name]:
            log.warning("%s: the column %s is not read: rename it to %s if it is meant.", where, others[0], name)


def _number(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return math.nan


def _with_label(
    rows: pd.DataFrame, label: str | Sequence[str] | None, where: str
) -> tuple[pd.DataFrame, str | Sequence[str]]:
    """Return the rows and the label's columns; of a run's split.csv those that took part, with its class as label."""
    asked = ["label"] if label is None else [label] if isinstance(label, str) else label
    if set(asked) & set(rows.columns) or not {"class", "digest", "excluded"} <= set(rows.columns):
        return rows, "label" if label is None else label
    kept = rows[rows["excluded"] == ""]
    if left := len(rows) - len(kept):
        log.warning("%s: samples that the run left out stay out: %d.", where, left)
    return kept, "class"


def splits_of(cells: pd.Series, where: str) -> list[str]:
    """Return train, val, test or nothing for each cell."""
    called = {cell: split_called(cell) if cell.strip() else "" for cell in cells.unique()}
    if unknown := sorted(cell for cell, split in called.items() if split is None):
        raise UserError(f"{where}: split {unknown[0]!r} is unknown; use {', '.join(SPLITS)} or leave it empty.")
    if "" in called.values() and len(set(called.values())) > 1:
        raise UserError(f"{where}: some rows have a split and some have none; give all of them one, or none.")
    if others := [f"{cell} as {split}" for cell, split in called.items() if cell.strip() != split]:
        log.warning("%s: the split %s.", where, ", ".join(others))
    return [called[cell] or "" for cell in cells]


def _place(path: str, base: Path) -> Path:
    """Return where a path of the table leads; it may begin at the home directory, or be written on Windows."""
    if "\\" in path and not os.path.exists(base / path):  # noqa: PTH110 (Path.exists raises where a name is too long)
        path = path.replace("\\", "/")
    return Path(path).expanduser() if path.startswith("~/") else base / path


def not_texts(cells: Iterable[object]) -> str:
    """Say which of these cells is neither text nor number, as those of JSON lines and Parquet may be; else ""."""
    strange = [cell for cell in cells if isinstance(cell, bytes) or not is_scalar(cell)]
    kind = type(strange[0]).__name__ if strange else ""
    return f"a {'list' if kind == 'ndarray' else kind}, not a text" if strange else ""


def cell_text(value: object) -> str:
    """Return a cell as text: JSON lines have numbers, and nothing for a missing one."""
    return "" if value is None or value is pd.NA or value != value else str(value)  # noqa: PLR0124 (NaN)
