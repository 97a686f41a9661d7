"""Finds what may be a secret in a text: keys, passwords, mail addresses, card numbers; never repeats one.

Formats are those that the services document; libraries that know hundreds more are made for source code, and know
neither mail addresses nor card numbers.
"""

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

MAIL, CARD, SECRET = "mail address", "card number", "secret"  # kinds of findings


class Found(NamedTuple):
    """Something in a text that may be a secret."""

    kind: str  # of a finding
    what: str  # such as "AWS access key"
    start: int
    end: int


class _Pattern(NamedTuple):
    what: str
    expression: re.Pattern[str]
    kind: str = SECRET
    holds: Callable[[str], bool] = lambda text: True


def _is_mixed(text: str) -> bool:
    """Return whether digits and letters stand in a token, so that it is no word."""
    return any(letter.isdigit() for letter in text) and any(letter.isalpha() for letter in text)


def _is_card(text: str) -> bool:
    """Return whether digits begin as those of the large issuers, and have a card's check digit (Luhn, ISO/IEC 7812)."""
    digits = [int(letter) for letter in text if letter.isdigit()]
    doubled = [sum(divmod(2 * digit, 10)) if i % 2 else digit for i, digit in enumerate(reversed(digits))]
    known = digits[0] in range(3, 7) or 22 <= 10 * digits[0] + digits[1] <= 27
    return known and len(set(digits)) > 1 and sum(doubled) % 10 == 0


_PATTERNS = (
    _Pattern("private key", re.compile(r"-----BEGIN (?:[A-Z]+ ){0,3}PRIVATE KEY(?: BLOCK)?-----")),
    _Pattern("AWS access key", re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b")),
    _Pattern("GitHub token", re.compile(r"\b(?:gh[pousr]_[0-9A-Za-z]{36,255}|github_pat_[0-9A-Za-z_]{60,255})\b")),
    _Pattern("GitLab token", re.compile(r"\bglpat-[0-9A-Za-z_-]{20,}")),
    _Pattern("Anthropic key", re.compile(r"\bsk-ant-[0-9A-Za-z_-]{24,}")),
    _Pattern("OpenAI key", re.compile(r"\bsk-(?!ant-)(?:proj-|svcacct-|admin-)?[0-9A-Za-z_-]{32,}"), holds=_is_mixed),
    _Pattern("Hugging Face token", re.compile(r"\bhf_[0-9A-Za-z]{30,}\b")),
    _Pattern("Google API key", re.compile(r"\bAIza[0-9A-Za-z_-]{35}")),
    _Pattern("Slack token", re.compile(r"\bxox[abeoprs]-[0-9A-Za-z-]{10,}")),
    _Pattern("Slack webhook", re.compile(r"https://hooks\.slack\.com/services/[0-9A-Za-z_/]{20,}")),
    _Pattern("Stripe key", re.compile(r"\b[rs]k_live_[0-9A-Za-z]{20,}\b")),
    _Pattern("JSON web token", re.compile(r"\beyJ[0-9A-Za-z_-]{8,}\.eyJ[0-9A-Za-z_-]{8,}\.[0-9A-Za-z_-]{8,}")),
    _Pattern("bearer token", re.compile(r"\b[Bb]earer +[0-9A-Za-z._~+/-]{20,}=*"), holds=_is_mixed),
    _Pattern("password in an address", re.compile(r"\b[a-z][a-z0-9+.-]{1,20}://[^\s/:@]{1,100}:[^\s/:@]{1,100}@[\w.-]+")),
    _Pattern(MAIL, re.compile(r"\b[\w.+-]{1,64}@(?:[\w-]{1,63}\.){1,8}[A-Za-z]{2,24}\b"), MAIL),
    _Pattern(CARD, re.compile(r"(?<![\d.,-])\d(?:[ -]?\d){12,18}(?![\d.,-]?\d)"), CARD, _is_card),
)  # fmt: skip
# One look for all of them: most texts hold none of these signs.
_HINT = re.compile(
    r"-----BEGIN|AKIA|ASIA|gh[pousr]_|github_pat_|glpat-|sk-|hf_|AIza|xox|hooks\.slack|k_live_|eyJ|earer |@|"
    r"\d(?:[ -]?\d){12}"
)


def secrets_in(text: str) -> Iterator[Found]:
    """Yield what may be a secret in a text, each place once."""
    if not _HINT.search(text):
        return
    taken: list[tuple[int, int]] = []
    for pattern in _PATTERNS:
        for match in pattern.expression.finditer(text):
            start, end = match.span()
            if pattern.holds(match[0]) and not any(start < there_end and there < end for there, there_end in taken):
                taken.append((start, end))
                yield Found(pattern.kind, pattern.what, start, end)


def redacted(text: str) -> str:
    """Return a text with a name in the place of each secret; of a private key, all that follows."""
    for found in sorted(secrets_in(text), key=lambda one: -one.start):
        rest = "" if found.what == "private key" else text[found.end :]
        text = f"{text[: found.start]}[{found.what}]{rest}"
    return text
