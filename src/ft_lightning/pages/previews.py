"""Draws what a page shows of samples: JPEGs, and the beginnings of texts with the words that speak for the answer."""

import base64
import re
from pathlib import Path

from markupsafe import Markup, escape

from ft_lightning.runs.previews import Mark, Snippet, read_previews
from ft_lightning.runs.run import Run

_LONG_WORD = re.compile(r"(\S{16})\S{9,}(\S{16})")  # more than 40 letters: the middle is left out
_EMPTY_LINES = re.compile(r"\n\s*\n")
_MARKED = " Of texts, the marked words speak for the answer: without one of them it changes, the more, the darker."


class Previews:
    """The previews in a run's directory."""

    def __init__(self, run: Run) -> None:
        self._found = read_previews(run.previews, run.table("words", missing_ok=True))

    def of(self, name: str) -> Path | Snippet | None:
        """Return what there is to show of a sample; None if there is nothing."""
        return self._found.get(name)

    @property
    def said(self) -> str:
        """What marks mean, to follow another sentence; empty where nothing is marked."""
        marked = (isinstance(shown, Snippet) and shown.marks for shown in self._found.values())
        return _MARKED if any(marked) else ""


def neighbours(run: Run) -> dict[str, str]:
    """Return a line on each test sample's most similar training sample, by the name of the first."""
    table = run.table("neighbours", missing_ok=True)
    return {str(row.path): f"most like {row.neighbour} ({row.label})" for row in table.itertuples()}


def drawn(shown: Path | Snippet | None) -> Markup:
    """Return the markup of a preview; an empty frame for one that is gone."""
    if shown is None:
        return Markup('<div class="gone"></div>')
    if isinstance(shown, Snippet):
        # dir=auto: a right-to-left text begins on the right, and cannot turn what stands around it.
        return Markup('<div class="snippet" dir="auto">{}</div>').format(_marked(shown))
    jpeg = base64.b64encode(shown.read_bytes()).decode()
    return Markup('<img src="data:image/jpeg;base64,{}" alt="" loading="lazy">').format(jpeg)


def _marked(snippet: Snippet) -> Markup:
    """Escape a text, mark its words, and leave out the middle of very long ones."""
    parts: list[Markup] = []
    at = 0
    for start, end, weight in (mark for mark in snippet.marks if _fits(mark, snippet.text)):
        if start < at:
            continue
        parts.append(_short(snippet.text[at:start]))
        word = _short(snippet.text[start:end])
        parts.append(Markup('<mark style="--weight: {:.0f}%">{}</mark>').format(100 * weight, word))
        at = end
    return Markup("").join([*parts, _short(snippet.text[at:])])


def _fits(mark: Mark, text: str) -> bool:
    """Return whether a mark is one of this text: a table may come from somebody else."""
    return 0 <= mark.start < mark.end <= len(text) and 0 < mark.weight <= 1


def _short(text: str) -> Markup:
    return escape(_EMPTY_LINES.sub("\n", _LONG_WORD.sub(r"\1…\2", text)))
