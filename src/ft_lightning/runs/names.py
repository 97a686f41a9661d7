"""Saved configs: reads them, and translates the former names of a renamed package and of moved functions."""

import re
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from ft_lightning.system.errors import UserError
from ft_lightning.system.files import damaged

PACKAGE = __name__.partition(".")[0]
FORMER: tuple[str, ...] = ()
_FIRST = (*FORMER, PACKAGE)[0]
_MOVED = {"augment.augmentation": "preprocess.augmentation"}  # new -> old
_REPLACED = {f"{PACKAGE}.callbacks.early_stopping.EarlyStopping": "lightning.pytorch.callbacks.EarlyStopping"}


def saved(file: Path) -> dict[str, Any]:
    """Read a config.yaml with current names; raise UserError if it is missing or damaged."""
    try:
        content: Any = OmegaConf.to_container(OmegaConf.load(file), resolve=False)
    except FileNotFoundError:
        raise UserError(f"{file}: no such file.") from None
    except (OSError, ValueError, RecursionError, YAMLError, OmegaConfBaseException) as error:
        raise damaged(file, error) from error
    if not isinstance(content, dict):
        raise damaged(file, "it has no keys")
    return current(content)


def setting_in(text: str, key: str) -> str:
    """Return a value at the top level of a config by its line alone, as parsing it takes 10 ms; empty if unknown."""
    found = re.search(rf"^{key}: *(\S+)$", text, re.MULTILINE)
    return found[1].strip("'\"") if found else ""


def current(node: Any) -> Any:
    """Return a config whose `_target_` values name this package, whatever its name when the config was saved."""
    if isinstance(node, list):
        return [current(value) for value in node]
    if not isinstance(node, dict):
        return node
    return {key: _of(PACKAGE, value) if key == "_target_" else current(value) for key, value in node.items()}


def oldest(value: Any) -> Any:
    """Return a value under its first name, so that configs of all versions can be compared."""
    if not isinstance(value, str):
        return value
    value = _REPLACED.get(_of(PACKAGE, value), value)
    package, _, place = _of(_FIRST, value).partition(".")
    return f"{package}.{_MOVED.get(place, place)}" if package == _FIRST and place else value


def _of(package: str, value: Any) -> Any:
    own = isinstance(value, str) and value.partition(".")[0] in (*FORMER, PACKAGE)
    return f"{package}.{value.partition('.')[2]}" if own and "." in value else value
