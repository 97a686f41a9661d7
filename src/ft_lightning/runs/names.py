"""Names in saved configs: translates the former names of a renamed package and of moved functions."""

from typing import Any

PACKAGE = __name__.partition(".")[0]
FORMER: tuple[str, ...] = ()
_FIRST = (*FORMER, PACKAGE)[0]
_MOVED = {"augment.augmentation": "preprocess.augmentation"}  # new -> old
_REPLACED = {f"{PACKAGE}.callbacks.early_stopping.EarlyStopping": "lightning.pytorch.callbacks.EarlyStopping"}


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
