"""Marks where an answer differs from the one that was expected."""

import re
import unicodedata
from collections.abc import Sequence
from difflib import SequenceMatcher

from markupsafe import Markup

from ft_lightning.runs.previews import visible

_SHOWN = 600  # characters of a text
_LETTER_BY_LETTER = 60  # characters, up to which texts are compared so
_ALIKE = 0.3  # below it an answer has next to nothing to do with what was expected
_SINGLE = "\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"  # letters of scripts that are written without spaces
_WORD = re.compile(rf"\s+|[{_SINGLE}]|[^\s{_SINGLE}]+")
_JOINER = "\u200d"  # between the parts of one emoji
_MODIFIERS = range(0x1F3FB, 0x1F400)  # skin tones


def plain(text: str) -> Markup:
    """Return a cell of a table with a text, cut where it is long."""
    return _cell(Markup("{}").format(_clipped(text)))


def compared(answer: str, expected: str) -> Markup:
    """Return a cell with an answer: what is not expected is marked, what is missing stands there struck out.

    Short texts are compared letter by letter, others by words; white space around them does not count.
    """
    one, two = _clipped(expected), _clipped(answer)
    if one == two:
        return _cell(Markup("{}").format(two))
    small = max(len(one), len(two)) <= _LETTER_BY_LETTER and not _joined(one + two)
    first, second = ((letters if small else _WORD.findall)(text) for text in (one, two))
    matcher = SequenceMatcher(None, first, second, autojunk=False)
    if matcher.ratio() < _ALIKE:
        return _cell(Markup("<ins>{}</ins>").format(two))
    parts = [_part(*code, first, second) for code in matcher.get_opcodes()]
    return _cell(Markup("").join(parts))


def letters(text: str) -> list[str]:
    """Return what people see as the letters of a text: accents and the parts of an emoji stay together."""
    found: list[str] = []
    for sign in text:
        follows = unicodedata.category(sign).startswith("M") or sign == _JOINER or ord(sign) in _MODIFIERS
        if found and (follows or found[-1].endswith(_JOINER)):
            found[-1] += sign
        else:
            found.append(sign)
    return found


def _part(
    change: str, start: int, end: int, from_: int, to: int, expected: Sequence[str], answer: Sequence[str]
) -> Markup:
    gone, there = "".join(expected[start:end]), "".join(answer[from_:to])
    if change == "equal":
        return Markup("{}").format(there)
    return Markup("").join(
        Markup(f"<{tag}>{{}}</{tag}>").format(text) for tag, text in (("del", gone), ("ins", there)) if text
    )


def _joined(text: str) -> bool:
    """Return whether letters change their shape beside others, as in Arabic, so that words stay whole."""
    return any(unicodedata.bidirectional(letter) == "AL" for letter in text)


def _clipped(text: str) -> str:
    text = visible(text.strip())
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]} …"


def _cell(content: Markup) -> Markup:
    # dir=auto: a right-to-left text begins on the right, and cannot turn what stands around it.
    return Markup('<div class="said" dir="auto">{}</div>').format(content)
