"""Translates exceptions of the frameworks and the system into errors that the user can fix."""

import errno
import re
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverrideParseException
from hydra.errors import HydraException, InstantiationException
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, InterpolationResolutionError, OmegaConfBaseException

from ft_lightning.system.distributed import is_main_process
from ft_lightning.system.errors import NumericalError, UserError, is_out_of_memory, printable_lines

# Full, read-only, not a folder or no name; not every system knows all of them.
_UNUSABLE_PLACE = (
    "ENOSPC",
    "EROFS",
    "EFBIG",
    "EACCES",
    "EPERM",
    "ENOTDIR",
    "EISDIR",
    "EEXIST",
    "EIO",
    "EDQUOT",
    "ENAMETOOLONG",
)

# Of Lightning and Optuna, by name, to avoid importing them.
_LIBRARY_ERRORS = ("MisconfigurationException", "StorageInternalError")

# What a function raises for a value that it does not take.
_REFUSALS = (TypeError, ValueError, ImportError, LookupError, AttributeError, AssertionError, RuntimeError)
_PACKAGE = Path(__file__).parents[1]


def known_error(error: BaseException) -> UserError | NumericalError | None:
    """Return the typed error behind an exception of a job; None for a bug."""
    if typed := typed_error(error) or _overflow(error):
        return typed
    if type(error).__name__ in _LIBRARY_ERRORS:
        return UserError(f"{error} {str(error.__cause__ or '').partition(chr(10))[0]}".strip())
    if isinstance(error, InstantiationException):
        if known := known_error(error.__cause__ or RuntimeError()):
            return known
        # A value that a library's constructor refuses comes from a config or an override.
        refused = isinstance(error.__cause__, TypeError | ValueError | ImportError | LookupError | None)
        return UserError(str(error)) if refused else None
    unusable = isinstance(error, OSError) and error.errno in {getattr(errno, name, None) for name in _UNUSABLE_PLACE}
    if unusable or isinstance(error, OmegaConfBaseException | HydraException):
        return config_error(error)
    return shortage(error)


def typed_error(error: BaseException | None) -> UserError | NumericalError | None:
    """Return the typed error among an exception and its causes: Hydra wraps them, once per nested config."""
    while error:
        if isinstance(error, UserError | NumericalError):
            return error
        error = error.__cause__
    return None


def _overflow(error: BaseException) -> NumericalError | None:
    """Return the error for a step that torch's optimizers cannot take; its gradients may be sound."""
    if isinstance(error, RuntimeError) and "to type float without overflow" in str(error):
        return NumericalError("A step of the optimizer is too large for float32: use a lower optimizer.lr.")
    return None


def is_refusal(error: BaseException | None) -> bool:
    """Return whether a function raises this for a value that it does not take."""
    return isinstance(error, _REFUSALS) or type(error).__name__ in _LIBRARY_ERRORS


def refusal_of_a_typed_value(error: BaseException, typed: Sequence[str]) -> UserError | None:
    """Return the error for a value that a library refuses only when it is used; None if it may be a bug of ours.

    It is raised in a library, and its text names the key, or quotes the value, of an override that was typed; or it is
    an overflow, and a whole number was typed that torch cannot hold.
    """
    if isinstance(error, OverflowError):
        blamed = [word.lstrip("+") for word in typed if re.search(r"\d{19}", word.partition("=")[2])]
        return UserError(f"{' '.join(blamed)}: too large: {error}.") if blamed else None
    frames = traceback.extract_tb(error.__traceback__)
    if not (is_refusal(error) and frames) or Path(frames[-1].filename).is_relative_to(_PACKAGE):
        return None
    said = set(re.findall(r"[\w./-]{3,}", str(error)))
    blamed = []
    for word in typed:
        key, _, value = word.partition("=")
        if {key.rpartition(".")[2], value} & said:
            blamed.append(word.lstrip("+"))
    # Of what runs in the library only because it was asked for, nearly anything can come.
    blamed = blamed or [word.lstrip("+") for word in typed if re.match(r"\+*(callback|logger)\.|\+trainer\.", word)]
    reason = " ".join(str(error).split())[:300].rstrip(".")
    return UserError(f"{' '.join(blamed)}: does not fit: {reason}.") if blamed else None


def config_error(error: BaseException) -> UserError:
    """Shorten an error of Hydra, OmegaConf or the system to a few lines."""
    if isinstance(error.__cause__, UserError):
        return error.__cause__
    if isinstance(error, OverrideParseException):
        key, _, value = str(error.override).replace("${", "\\${").partition("=")
        example = f"'{key}=\"{value}\"'" if value and not set("\"'") & set(value) else "'data.root=\"~/my images\"'"
        return UserError(f"{error.override} cannot be read: quote the value, for example {example}.")
    if isinstance(error, ConfigKeyError | ConfigAttributeError) and str(error).startswith("Missing key"):
        group = str(error.full_key).partition(".")[0]
        return UserError(
            f"{error.full_key} is missing: write it into the file that {group}=... names, or have that file begin with "
            "another's keys, by `defaults:` as in conf/data/mydata.yaml."
        )
    if isinstance(error, InterpolationResolutionError):
        said = re.sub(r"^\w+ raised while resolving interpolation: |\"", "", str(error).partition("\n")[0])
        return UserError(
            f"{error.full_key}: {said[:200]}. ${{...}} is the value of another key, ${{oc.env:NAME}} that of the "
            "environment; \\${ are the letters themselves."
        )
    causes = [error] + ([error.__cause__] if error.__cause__ else [])
    text = "\n".join(dict.fromkeys(str(cause).partition("\nConfig search path")[0] for cause in causes))
    return UserError(text.replace("\n\n", "\n").replace(":\n\t", ": ").replace("\n\t", ", "))  # lists in one line


def print_error(message: object, kind: str = "error: ") -> None:
    """Print an error for the user, in every process of a run.

    Otherwise a sample that only one process reads would end the run without a message.
    """
    who = "" if is_main_process() else "[another process] "
    print(f"{who}{kind}{printable_lines(str(message))}", file=sys.stderr)  # noqa: T201


def shortage(error: BaseException) -> UserError | None:
    """Return the error for exhausted memory, for which the system kills loader processes without a message."""
    reason = str(error).partition("\n")[0][:200]
    if is_out_of_memory(error):
        return UserError(
            f"Out of memory ({reason}): lower data.batch_size, and raise trainer.accumulate_grad_batches by the same "
            "factor for equal steps."
        )
    if isinstance(error, RuntimeError) and reason.startswith("DataLoader worker"):
        return UserError(
            f"A process that reads samples was killed ({reason}), as happens when memory runs out: lower "
            "data.num_workers; 0 reads within the main process."
        )
    return None
