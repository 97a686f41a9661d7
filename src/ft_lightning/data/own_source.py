"""Functions of the user's own that list samples, `data.find`: what they are called, and what is wrong with them."""

import functools
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ft_lightning.system.errors import UserError


def function_of(find: Callable[..., Any]) -> Any:
    """Return the function that lists the samples, without the arguments that it has already."""
    inner: Any = find
    while wrapped := getattr(inner, "func", None) or getattr(inner, "__wrapped__", None):
        inner = wrapped
    return inner


def name_of(find: Callable[..., Any]) -> str:
    """Return the name of the function that lists the samples."""
    return getattr(function_of(find), "__name__", "?")


def of_ones_own(find: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function, made to raise UserError, with the file and line of a fault in it."""

    @functools.wraps(find)
    def listing(*given: Any, **columns: Any) -> Any:
        try:
            return find(*given, **columns)
        except (UserError, OSError):  # told where all sources are
            raise
        except Exception as error:
            raise UserError(
                f"data.find={name_of(find)} fails: {type(error).__name__}: {error}{_place(find, error)}"
            ) from error

    return listing


def _place(find: Callable[..., Any], error: Exception) -> str:
    """Return where in the function's file the error happened, or how it is called, where it was called wrongly."""
    file = getattr(getattr(function_of(find), "__code__", None), "co_filename", "")
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    return f" ({Path(file).name}, line {lines[-1]})." if lines else ". It is called with root, csv and on_problem."
