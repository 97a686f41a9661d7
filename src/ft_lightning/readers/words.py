"""The words of a text, for baselines and comparisons that count words."""

import re
import unicodedata
from collections.abc import Sequence

_LETTERS = "\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"  # of scripts that are written without spaces: each is a word
_WORD = re.compile(rf"[{_LETTERS}]|[^\W{_LETTERS}]+")


def words_of(content: str | Sequence[str]) -> list[str]:
    """Return the words of a text, or of several that belong together, in one spelling: lower case, one Unicode form."""
    whole = content if isinstance(content, str) else "\n".join(content)
    return _WORD.findall(unicodedata.normalize("NFKC", whole).casefold())
