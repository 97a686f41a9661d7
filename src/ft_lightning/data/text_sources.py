"""Lists the labelled texts of a table or a folder of .txt files, and reports what is wrong with them."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ft_lightning.data.folders import TEXT_FILES
from ft_lightning.data.scan import Entry, Listing, OnProblem, absolute
from ft_lightning.data.sources import list_folder
from ft_lightning.data.table import cell_text, columns_of, not_texts, refuse_lacking, splits_of
from ft_lightning.readers.decoding import UnusableTextError, decoded, problem_of, read_file
from ft_lightning.system.errors import UserError
from ft_lightning.system.tables import read_table

_TEXT = "text"
Read = tuple[str | tuple[str, ...] | None, str]  # a text, or several; and why there is none


def find_texts(
    root: str | None,
    csv: str | None,
    on_problem: OnProblem,
    label: str | Sequence[str] | None = None,
    weight: str | None = None,
    text: str | Sequence[str] | None = None,
) -> Listing:
    """List a table of texts (.csv, .jsonl or .parquet), or a folder of .txt files in the layouts known from images.

    Args:
        label: the table's column with the label, or several; None: the one called label.
        weight: the table's column with the samples' weights; None: all count alike.
        text: the table's column with the text, or the two of a pair; None: the one called text.
    """
    if csv and root:
        raise UserError(f"data.root={root} is a folder of texts and data.table={csv} a table of them: give one.")
    if csv:
        return _of_table(Path(str(csv)).expanduser(), label, weight, _TEXT if text is None else text)
    for key, named in (("label", label), ("weight", weight), ("text", text)):
        if named is not None:
            raise UserError(f"data.{key}={named} names columns of a table, but there is none: set data.table.")
    if not root:
        raise UserError(
            "data.table is not set: say data.table=/texts.csv, with the columns text and label, or "
            "data.root=/folder/of/class/folders of .txt files."
        )
    listing = list_folder(Path(str(root)).expanduser(), on_problem, TEXT_FILES)
    with ThreadPoolExecutor() as pool:
        read = pool.map(_of_file, [entry.path for entry in listing.entries])
        entries = [
            entry._replace(content=content, problem=problem)
            for entry, (content, problem) in zip(listing.entries, read, strict=True)
        ]
    return Listing(entries, listing.base)


def _of_file(path: str) -> Read:
    try:
        return checked(decoded(read_file(path)))
    except UnusableTextError as error:
        return None, str(error)


def checked(*texts: str) -> Read:
    """Return a text, or several that belong together, or why they cannot be used."""
    problem = next(filter(None, map(problem_of, texts)), "")
    return (None, problem) if problem else (texts[0] if len(texts) == 1 else texts, "")


def _of_cells(cells: tuple[object, ...]) -> Read:
    strange = not_texts(cells)
    return (None, strange) if strange else checked(*map(cell_text, cells))


def _of_table(table: Path, label: str | Sequence[str] | None, weight: str | None, text: str | Sequence[str]) -> Listing:
    where = f"data.table={table}"
    texts = [text] if isinstance(text, str) else list(text)
    if not 1 <= len(texts) <= 2:
        raise UserError(f"data.text={texts}: name one column, or the two of a pair.")
    rows = read_table(table, as_is=True)
    refuse_lacking(rows, texts, "data.text", where)
    read = [_of_cells(cells) for cells in rows[texts].itertuples(index=False, name=None)]
    listed = columns_of(rows, label, weight, where)
    groups = rows["group"].map(cell_text) if "group" in rows else [""] * len(rows)
    splits = splits_of(rows["split"].map(cell_text), where) if "split" in rows else [""] * len(rows)
    # Rows are counted as a spreadsheet does: the header is the first.
    names = [f"{absolute(table)}#{row}" for row in range(2, len(rows) + 2)]
    cells = zip(names, *listed, splits, groups, read, strict=True)
    return Listing(
        [
            Entry(name, cell, split or None, group or None, w, content, problem)
            for name, cell, w, split, group, (content, problem) in cells
        ],
        absolute(table).parent,
    )
