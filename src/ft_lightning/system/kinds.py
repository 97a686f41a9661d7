"""Which values fit a key: what an annotation accepts, and the words that say so to a user."""

import functools
import inspect
import math
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints


class Range(NamedTuple):
    """The numbers that fit: from `least` to `most`, both included."""

    least: float
    most: float = math.inf

    def holds(self, value: float) -> bool:
        return self.least <= value <= self.most

    def __str__(self) -> str:
        return f"from {self.least}" + (f" to {self.most}" if math.isfinite(self.most) else "")


Count = Annotated[int, Range(1)]
Natural = Annotated[int, Range(0)]
NotNegative = Annotated[float, Range(0)]
Share = Annotated[float, Range(0, 1)]
Seed = Annotated[int, Range(0, 2**32 - 1)]  # what NumPy takes


def fits(value: Any, kind: Any) -> bool:
    """Return whether a config value fits an annotation; True for an annotation that says nothing of plain values.

    A number fits text, as Hydra reads a folder's name such as 2024 as a number. A config that names a `_target_` fits
    everything.
    """
    if isinstance(value, Mapping) and "_target_" in value:
        return True
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        rules = [rule for rule in arguments[1:] if isinstance(rule, Range)]
        return fits(value, arguments[0]) and all(rule.holds(value) for rule in rules)
    if origin in _UNIONS:
        told = [each for each in arguments if _tells(each)] or arguments  # a class besides is for objects
        numeric = any(_plain(each) in (int, float) for each in told)
        return any(fits(value, each) for each in told if not (numeric and each is str and _is_number(value)))
    if origin is Literal:
        return any(type(value) is type(each) and value == each for each in arguments)
    if (origin or kind) in _LISTS:
        return isinstance(value, list | tuple) and _items_fit(value, origin, arguments)
    return _PLAIN[origin or kind](value) if _tells(kind) else not getattr(kind, "_is_protocol", False)


def _is_number(value: Any) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and (isinstance(value, int) or not math.isnan(value))  # isnan overflows for 10**400


def _is_whole(value: Any) -> bool:
    return _is_number(value) and isinstance(value, int) and abs(value) < _TOO_LARGE


_TOO_LARGE = 2**63  # for the whole numbers of torch and NumPy, which end in an overflow
_UNIONS = (Union, types.UnionType)
_LISTS = (list, tuple, Sequence, Iterable)
_PLAIN: dict[Any, Callable[[Any], bool]] = {
    bool: lambda value: isinstance(value, bool),
    int: _is_whole,
    float: _is_number,
    str: lambda value: isinstance(value, str) or _is_number(value),
    type(None): lambda value: value is None,
    dict: lambda value: isinstance(value, Mapping),
    Mapping: lambda value: isinstance(value, Mapping),
    Callable: lambda value: False,
}
_WORDS: dict[Any, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    type(None): "null",
    dict: "keys and values",
    Mapping: "keys and values",
    Callable: "a _target_",
}


def as_text(value: Any, kind: Any) -> Any:
    """Return the text that is meant by a number where only text fits, such as a folder's name; any other as it is.

    So too in a list where only texts fit, such as columns called 0 and 1.
    """
    kinds = [_plain(each) for each in (get_args(kind) if get_origin(kind) in _UNIONS else (kind,))]
    only_text = str in kinds and not {int, float}.intersection(kinds)
    if isinstance(value, list) and any(get_origin(each) in _LISTS and get_args(each) == (str,) for each in kinds):
        return [str(each) if _is_number(each) else each for each in value]
    return str(value) if only_text and _is_number(value) else value


def _tells(kind: Any) -> bool:
    """Return whether an annotation says something of plain values; classes of a library do not."""
    return (get_origin(kind) or kind) in (*_PLAIN, *_LISTS, *_UNIONS, Annotated, Literal)


def _plain(kind: Any) -> Any:
    return get_args(kind)[0] if get_origin(kind) is Annotated else kind


def _items_fit(values: Sequence[Any], origin: Any, kinds: tuple[Any, ...]) -> bool:
    if origin is tuple and Ellipsis not in kinds:
        return len(values) == len(kinds) and all(map(fits, values, kinds))
    return not kinds or all(fits(value, kinds[0]) for value in values)


def words(kind: Any) -> str:
    """Say what fits an annotation: "a whole number from 1 or null"."""
    origin, arguments = get_origin(kind), get_args(kind)
    said = _WORDS.get(origin or kind, "a _target_" if getattr(kind, "_is_protocol", False) else "")
    if origin is Annotated:
        said = " ".join([words(arguments[0]), *(str(rule) for rule in arguments[1:] if isinstance(rule, Range))])
    elif origin in _UNIONS:
        each = dict.fromkeys(words(one) for one in sorted(arguments, key=lambda one: one is type(None)))
        said = " or ".join(filter(None, each))
    elif origin is Literal:
        one_of = "one of " if len(arguments) > 1 else ""
        said = one_of + ", ".join(str(one).lower() if isinstance(one, bool) else str(one) for one in arguments)
    elif (origin or kind) in _LISTS:
        items = f", each {words(arguments[0])}" if arguments and words(arguments[0]) else ""
        count = f" of {len(arguments)}" if origin is tuple and Ellipsis not in arguments else ""
        said = f"a list{count}{items}"
    return said


class Parameter(NamedTuple):
    """A parameter of what a config names by `_target_`."""

    kind: Any  # its annotation; Any if there is none
    default: Any  # inspect.Parameter.empty if there is none

    def takes(self, value: Any) -> bool:
        same = value == self.default and isinstance(value, bool) == isinstance(self.default, bool)  # False equals 0
        return fits(value, self.kind) or same


def _hint(called: Any, name: str) -> Any:
    """Return the annotation of one parameter; Any if there is none, or it is a name for type checkers only."""
    function = inspect.unwrap(called)
    raw = getattr(function, "__annotations__", {}).get(name, Any)
    holder = types.SimpleNamespace(__annotations__={name: raw})
    try:
        return get_type_hints(holder, getattr(function, "__globals__", {}), include_extras=True)[name]
    except Exception:
        return Any


@functools.cache
def parameters_of(target: Callable[..., Any]) -> tuple[dict[str, Parameter], Parameter | None]:
    """Return a callable's parameters by name, and that of any other name; None if it takes no others."""
    try:
        signature = inspect.signature(target)
    except (TypeError, ValueError):  # of C code
        return {}, Parameter(Any, inspect.Parameter.empty)
    called: Any = getattr(target, "__init__") if isinstance(target, type) else target  # noqa: B009
    named: dict[str, Parameter] = {}
    others = None
    for name, each in signature.parameters.items():
        parameter = Parameter(_hint(called, name), each.default)
        if each.kind is inspect.Parameter.VAR_KEYWORD:
            others = parameter
        elif each.kind is not inspect.Parameter.VAR_POSITIONAL:
            named[name] = parameter
    return named, others
