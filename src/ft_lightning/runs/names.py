"""Names in kept configs: what a clone's package was called before it was renamed, and what has moved since."""

from typing import Any

PACKAGE = __name__.partition(".")[0]
FORMER: tuple[str, ...] = ()
_FIRST = (*FORMER, PACKAGE)[0]
_MOVED = {"augment.augmentation": "preprocess.augmentation"}  # new -> old


def current(node: Any) -> Any:
    """A config in which `_target_` names this package, whatever it was called when the config was kept."""
    if isinstance(node, list):
        return [current(value) for value in node]
    if not isinstance(node, dict):
        return node
    return {key: _of(PACKAGE, value) if key == "_target_" else current(value) for key, value in node.items()}


def oldest(value: Any) -> Any:
    """A value by the name that it was first known by, so that configs of any time compare."""
    if not isinstance(value, str):
        return value
    package, _, place = _of(_FIRST, value).partition(".")
    return f"{package}.{_MOVED.get(place, place)}" if package == _FIRST and place else value


def _of(package: str, value: Any) -> Any:
    own = isinstance(value, str) and value.partition(".")[0] in (*FORMER, PACKAGE)
    return f"{package}.{value.partition('.')[2]}" if own and "." in value else value
