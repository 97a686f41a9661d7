"""The words of a text, for baselines and comparisons that count words."""

import re
import unicodedata
from collections.abc import Sequence
from itertools import takewhile
from typing import NamedTuple

from ft_lightning.readers.decoding import problem_of
from ft_lightning.readers.sample import Sample

_LETTERS = "\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"  # of scripts that are written without spaces: each is a word
_SHOWN = 300  # characters
_WORD = re.compile(rf"[{_LETTERS}]|[^\W{_LETTERS}]+")
_BETWEEN_SPACES = re.compile(rf"[{_LETTERS}]|[^\s{_LETTERS}]+")  # with punctuation, and marks that are no letters


def spelling_of(content: str | Sequence[str]) -> str:
    """Return a text, or several that belong together, in one case, one Unicode form, and with one kind of space."""
    whole = content if isinstance(content, str) else "\n".join(content)
    return " ".join(unicodedata.normalize("NFKC", whole).casefold().split())


def beginning_of(content: str | Sequence[str]) -> str:
    """Return what a page shows of a text, or of several that belong together: the first 300 characters."""
    whole = content if isinstance(content, str) else "\n".join(content)
    return whole if len(whole) <= _SHOWN else f"{whole[:_SHOWN]} …"


def words_of(content: str | Sequence[str]) -> list[str]:
    """Return the words of a text, or of several that belong together, in one spelling: lower case, one Unicode form."""
    whole = content if isinstance(content, str) else "\n".join(content)
    return _WORD.findall(unicodedata.normalize("NFKC", whole).casefold())


class Part(NamedTuple):
    """Some neighbouring words of what a page shows of a text."""

    start: int
    end: int
    without: Sample  # the text without them


def parts_of(sample: Sample, most: int) -> list[Part]:
    """Return the parts of a text's beginning, each a word or, where there are more than `most`, several together."""
    texts: Sequence[str] = [sample.content] if isinstance(sample.content, str) else sample.content
    words = (word.span() for word in _BETWEEN_SPACES.finditer("\n".join(texts)))
    found = list(takewhile(lambda span: span[1] <= _SHOWN, words))
    together = -(-len(found) // most) or 1
    spans = [(found[at][0], found[at : at + together][-1][1]) for at in range(0, len(found), together)]
    parts = [Part(start, end, _without(sample, texts, start, end)) for start, end in spans]
    return [part for part in parts if not problem_of("".join(part.without.content))]


def _without(sample: Sample, texts: Sequence[str], start: int, end: int) -> Sample:
    kept: list[str] = []
    offset = 0
    for text in texts:
        kept.append(text[: max(0, start - offset)] + text[max(0, end - offset) :])
        offset += len(text) + 1
    return Sample.of_text(sample.name, kept[0] if len(kept) == 1 else tuple(kept))
