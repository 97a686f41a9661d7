"""What a page shows of samples, JPEGs or texts, kept in the run's directory so that the page can be made again."""

import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from ft_lightning.readers.sample import Sample, SampleError
from ft_lightning.system.files import replacing
from ft_lightning.system.tables import read_table, write_table

_INDEX = "previews.csv"
_OLD_INDEX = "thumbnails/thumbnails.csv"  # beside the folder, in runs from before there were texts
_CONTROL = {code: 0x2400 + code for code in range(32)} | {0x7F: 0x2421}  # code -> a picture of it
_CONTROL |= dict.fromkeys(map(ord, "\t\r\v\f\x1c\x1d\x1e\x1f\x85"), ord(" ")) | {ord("\n"): ord("\n")}


class Mark(NamedTuple):
    """A word of a snippet that speaks for the answer."""

    start: int
    end: int
    weight: float  # up to 1, of the one that speaks the loudest


@dataclass(frozen=True, slots=True)
class Snippet:
    """The beginning of a text."""

    text: str
    marks: tuple[Mark, ...] = ()


def write_previews(samples: Iterable[Sample], folder: Path, preview: Callable[[Sample], bytes | str]) -> None:
    """Write the preview of each sample and an index, replacing the folder; one that cannot be read is left out."""
    rows: list[tuple[str, str, str]] = []
    with replacing(folder) as temporary:
        temporary.mkdir()
        for sample in {sample.name: sample for sample in samples}.values():
            try:
                shown = preview(sample)
            except SampleError:
                continue
            if isinstance(shown, str):
                rows.append((sample.name, "", visible(shown)))
                continue
            file = f"{len(rows):04d}.jpg"
            (temporary / file).write_bytes(shown)
            rows.append((sample.name, file, ""))
        write_table(pd.DataFrame(rows, columns=["path", "file", "text"]), temporary / _INDEX)


def read_previews(folder: Path, words: pd.DataFrame | None = None) -> dict[str, Path | Snippet]:
    """Return the existing JPEGs and the texts by sample name.

    Args:
        words: of texts, that speak for the answers: path, start, end, weight.
    """
    index = folder / _INDEX
    if not index.is_file():
        index = folder.parent / _OLD_INDEX
    if not index.is_file():
        return {}
    table = read_table(index).rename(columns={"thumbnail": "file"})
    texts = table["text"] if "text" in table else [""] * len(table)
    marks = {} if words is None or words.empty else dict(list(words.groupby("path")))
    found: dict[str, Path | Snippet] = {}
    for name, file, text in zip(table["path"], table["file"], texts, strict=True):
        if not file:
            found[name] = Snippet(text, _marks(marks.get(name)))
        elif (jpeg := index.parent / Path(file).name).is_file():
            found[name] = jpeg
    return found


def visible(text: str) -> str:
    """Return a text with a mark in the place of each letter that neither a table nor a page can hold."""
    return "".join(
        letter if letter == "\n" or unicodedata.category(letter) not in ("Cc", "Cs") else "\ufffd"
        for letter in text.translate(_CONTROL)
    )


def _marks(words: pd.DataFrame | None) -> tuple[Mark, ...]:
    if words is None:
        return ()
    rows = words.astype({"start": int, "end": int, "weight": float}).sort_values("start")
    return tuple(Mark(*row) for row in rows[["start", "end", "weight"]].itertuples(index=False, name=None))
