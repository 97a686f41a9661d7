"""`data.exclude`: leaves out the samples that a table names, such as issues.csv of a check."""

import logging
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from ft_lightning.data.split import lost
from ft_lightning.readers.sample import Sample
from ft_lightning.system.errors import UserError, name_few, number_of
from ft_lightning.system.tables import read_table
from ft_lightning.tasks.task import Task

log = logging.getLogger(__name__)


def excluded_names(table: str) -> set[str]:
    """Read the names in a table's column path."""
    return _names_in(_read(table))


def _read(table: str) -> pd.DataFrame:
    path = Path(str(table)).expanduser()
    if not path.is_file():
        raise UserError(f"data.exclude={table}: no such file.")
    rows = read_table(path)
    if "path" not in rows.columns:
        raise UserError(
            f"data.exclude={table}: no column 'path'; it has {', '.join(rows.columns)}. Save it with the header that "
            "issues.csv had."
        )
    return rows


def _names_in(rows: pd.DataFrame) -> set[str]:
    return set(rows["path"]) - {""}  # a spreadsheet may leave empty rows


def _refuse_moved(rows: pd.DataFrame, samples: Sequence[Sample], setting: str) -> None:
    """Raise UserError where an issues.csv has other labels than the rows of a table that it names: they have moved.

    Rows are known by their numbers, so what a changed table has there are other texts.
    """
    if not {"kind", "label", "suggestion"} <= set(rows.columns):
        return
    labels = dict(zip(rows["path"], rows["label"], strict=True))
    texts = (sample for sample in samples if sample.kind == "text" and "#" in sample.name)
    if moved := [sample.name for sample in texts if labels.get(sample.name) not in (None, "", sample.label)]:
        raise UserError(
            f"{setting}: {number_of(len(moved), 'row has', 'rows have')} another label now: {name_few(moved)}. The "
            "table has changed since, and rows are known by their numbers: run check again."
        )


def drop_excluded(
    splits: dict[str, list[Sample]], table: str, task: Task
) -> tuple[dict[str, list[Sample]], list[Sample]]:
    """Return the splits without the samples that a table names, and those samples; the others stay in their split."""
    setting, rows = f"data.exclude={table}", _read(table)
    names = _names_in(rows)
    _refuse_moved(rows, [sample for samples in splits.values() for sample in samples], setting)
    kept = {split: [sample for sample in samples if sample.name not in names] for split, samples in splits.items()}
    left_out = {split: [sample for sample in samples if sample.name in names] for split, samples in splits.items()}
    excluded = [sample for samples in left_out.values() for sample in samples]
    if names and not excluded:
        raise UserError(
            f"{setting}: none of its {number_of(len(names), 'path')} is one of this dataset: {name_few(sorted(names))}."
        )
    if gone := lost(task, kept):
        raise UserError(f"{setting} leaves nothing of {name_few(gone)}: take rows out of it.")
    counts = ", ".join(f"{split} {len(samples):,}" for split, samples in left_out.items() if samples)
    log.warning("%s: left out of %s.", setting, counts or "nothing: it is empty")
    if unknown := len(names) - len(excluded):
        log.warning(
            "%s: %s not in this dataset, or in no split.",
            setting,
            number_of(unknown, "of its paths is", "of its paths are"),
        )
    return kept, excluded
