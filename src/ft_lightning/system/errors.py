"""The two failures a command answers with a few lines instead of a traceback, and how names stand in those lines."""

from collections.abc import Sequence

_SHOWN = 5


class UserError(Exception):
    """The user can fix it: bad data, config or place. The message names the file or key, the value and the fix."""

    exit_code = 2


class NumericalError(Exception):
    """Training failed numerically, for example with a loss that is not finite."""

    exit_code = 3


def some(names: Sequence[object]) -> str:
    """The first five names, for a message."""
    return ", ".join(printable(str(name)) for name in names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")


def printable(text: str) -> str:
    """A text with its control characters escaped, so that a name cannot clear the terminal or start a new line."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


def printable_lines(text: str) -> str:
    """The same of a text that may have several lines."""
    return "\n".join(map(printable, text.split("\n")))
