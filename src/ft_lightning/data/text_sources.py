"""Lists the labelled texts of a table or a folder of .txt files, and reports what is wrong with them."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from ft_lightning.data.folders import TEXT_FILES
from ft_lightning.data.scan import Entry, FindFiles, Listing, OnProblem, with_entries
from ft_lightning.data.sources import list_folder
from ft_lightning.data.table import cell_text, columns_of, listing_of, not_texts, refuse_lacking
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
    return list_folder(Path(str(root)).expanduser(), on_problem, TEXT_FILES)


def reading(find: FindFiles) -> FindFiles:
    """Return a source that has read the files which another one lists."""

    def read(entries: list[Any], base: Path) -> list[Any]:
        with ThreadPoolExecutor() as pool:
            return list(pool.map(lambda entry: _with_content(entry, base), entries))

    return with_entries(find, read)


def _with_content(entry: Any, base: Path) -> Any:
    if not isinstance(entry, Entry) or entry.content is not None or entry.problem:
        return entry
    try:
        content, problem = checked(decoded(read_file(str(base / entry.path))))
    except UnusableTextError as error:
        content, problem = None, str(error)
    return entry._replace(content=content, problem=problem)


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
    if len({*texts}) < len(texts):
        raise UserError(f"data.text=[{','.join(texts)}]: a pair has two columns, and {texts[0]} is named twice.")
    if answers := {*texts} & ({label} if isinstance(label, str) else {*(label or ["label"])}):
        raise UserError(f"data.text and data.label both name {answers.pop()!r}: a model would read its answer.")
    rows = read_table(table, as_is=True)
    refuse_lacking(rows, texts, "data.text", where)
    read = [_of_cells(cells) for cells in rows[texts].itertuples(index=False, name=None)]
    return listing_of(table, rows, *columns_of(rows, label, weight, where), read, where)
