"""The two errors that a command reports in a few lines instead of a traceback; how messages show names."""

from collections.abc import Sequence

_SHOWN = 5


class UserError(Exception):
    """An error that the user can fix: bad data, config or path. The message names the file or key, value and fix."""

    exit_code = 2


class NumericalError(Exception):
    """Training failed numerically, for example with a loss that is not finite."""

    exit_code = 3


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether memory ran out; each kind of device has an error of its own."""
    words = ("out of memory", "can't allocate memory", "CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_NOT_SUPPORTED")
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(word in str(error) for word in words)
    )


def name_few(names: Sequence[object]) -> str:
    """List the first five names, for a message."""
    return ", ".join(printable(str(name)) for name in names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")


def with_article(noun: str) -> str:
    """Return a noun with a or an, by its first letter."""
    return f"{'an' if noun[0] in 'aeiouAEIOU' else 'a'} {noun}"


def number_of(number: int, one: str, several: str | None = None) -> str:
    """Return a number and what it counts: "1 image", "1,200 images".

    Args:
        several: the words for any other number than 1; None: `one` with an s.
    """
    return f"{number:,} {one if number == 1 else several or f'{one}s'}"


def decimals(value: float, sign: str = "") -> str:
    """Return a number with four decimals, or with few digits where those would show hardly any of it or far more.

    Args:
        sign: "+" to show it before positive numbers too.
    """
    size = abs(value)
    return format(value, sign + (".3g" if 0 < size < 5e-4 else ".4f" if size < 1e6 else ".4g"))


def printable(text: str) -> str:
    """Escape control characters, so that a name cannot clear the terminal or start a new line."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


def printable_lines(text: str) -> str:
    """Escape control characters but keep line breaks."""
    return "\n".join(map(printable, text.split("\n")))
