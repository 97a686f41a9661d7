"""The texts that a model is to answer: of a table, of files, of standard input, or as typed."""

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ft_lightning.data.folders import TEXT_FILES
from ft_lightning.data.inputs import find_files
from ft_lightning.data.table import cell_text, not_texts, refuse_lacking
from ft_lightning.readers.decoding import UnusableTextError, decoded
from ft_lightning.readers.sample import Sample
from ft_lightning.system.errors import UserError
from ft_lightning.system.tables import TABLES, read_table, row_numbers


def typed_texts(text: str | Sequence[str | tuple[str, ...]]) -> list[Sample]:
    """Return the texts that were typed, or pairs of them."""
    texts = [text] if isinstance(text, str) else list(text)
    return [Sample.of_text(f"text {number}", each) for number, each in enumerate(texts, start=1)]


def find_texts(pattern: str, columns: Sequence[str] | None, usual: Sequence[str] = ()) -> list[Sample]:
    """Return the texts of `input`: the rows of a table, the lines of standard input (-), or whole files.

    Args:
        columns: of a table: the text's column, or the two of a pair; None: those of `usual` if the table has them, else
            the one called text, or the only one.
        usual: the columns that the model was trained on; empty: unknown, or the one called text.
    """
    if pattern == "-":
        return [Sample.of_text(name, line) for name, line in lines_of_input()]
    if Path(pattern).suffix.lower() in TABLES:
        return _of_table(Path(pattern).expanduser(), columns, usual)
    return [Sample.unlabelled(str(path), kind="text") for path in find_files(pattern, TEXT_FILES)]


def lines_of_input() -> list[tuple[str, str]]:
    """Return the lines of standard input that hold something, each with a name."""
    lines = [line.rstrip("\r") for line in _standard_input().split("\n")]
    named = [(f"-#{number}", line) for number, line in enumerate(lines, start=1) if line.strip()]
    if not named:
        raise UserError("input=-: standard input has nothing to answer: write one text a line.")
    return named


def _of_table(table: Path, columns: Sequence[str] | None, usual: Sequence[str]) -> list[Sample]:
    rows = read_table(table, as_is=True)
    single = ["text"] if len(rows.columns) != 1 else list(rows.columns)
    known = {*usual} <= {*rows.columns} or not {*single} <= {*rows.columns}
    named = list(columns or (usual if usual and known else single))
    refuse_lacking(rows, named, "column", f"input={table}")
    if len(named) > 2 or len({*named}) < len(named):
        raise UserError(f"column={named}: name one column, or the two of a pair.")
    cells = zip(row_numbers(rows), rows[named].itertuples(index=False, name=None), strict=True)
    return [_of_cells(f"{table}#{number}", row) for number, row in cells]


def _of_cells(name: str, cells: tuple[object, ...]) -> Sample:
    if strange := not_texts(cells):
        return replace(Sample.of_text(name, ""), problem=strange)
    texts = tuple(map(cell_text, cells))
    return Sample.of_text(name, texts[0] if len(texts) == 1 else texts)


def _standard_input() -> str:
    try:
        return decoded(sys.stdin.buffer.read())
    except UnusableTextError as error:
        raise UserError(f"input=-: {error}.") from None
