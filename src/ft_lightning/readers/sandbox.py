"""The sandbox of chat templates: it bounds how long one runs and how much memory it takes."""

import functools
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from jinja2 import nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment, SecurityError
from jinja2.visitor import NodeTransformer

_STEPS = 1_000_000  # passes of loops and macros while one text is written: some seconds
_LARGEST = 10_000_000  # characters, or members of a list, that an operation may read, or that one text may have
_MADE = 300_000_000  # characters that all operations together make while one text is written
_NUMBER = 1_000_000  # that a function may be given, such as a width
_DIGITS = 1000  # of a whole number
_MEMBER = 16  # a member of a list takes about as much as so many characters

# Methods and filters whose result is as long as their subject times what they are given.
_GROWING = {"expandtabs", "format", "format_map", "indent", "join", "replace", "tojson", "wordwrap"}
_WRITING = {"e", "escape", "forceescape", "pprint", "string", "urlize", "xmlattr"}  # results as long as all inside
_REFUSED = {"translate", "maketrans", "to_bytes"}  # of which no template has need


class Sandbox(ImmutableSandboxedEnvironment):
    """Ends a template that would go on for hours or fill the memory; what it may reach, the library limits."""

    intercepted_binops = frozenset({"*", "**", "+", "%"})

    def __init__(self, **options: Any) -> None:
        super().__init__(**options, finalize=self.write, optimized=False)
        self.begin()
        for name, function in self.filters.items():
            self.add_filter(name, function)

    def add_filter(self, name: str, function: Callable[..., Any]) -> None:
        """Have templates use a filter within the bounds."""
        self.filters = {**self.filters, name: _bounded(name, function, self.made)}

    def begin(self) -> None:
        """Begin to count for another text."""
        self.steps = self.written = self.made_so_far = 0

    def step(self, characters: int) -> str:
        """Count a pass of a loop or a macro, and the template's own characters in it."""
        self.steps += 1
        if self.steps > _STEPS:
            raise SecurityError(f"it goes on after {_STEPS:,} passes of its loops")
        self._count(characters)
        return ""

    def write(self, value: Any) -> Any:
        """Count what is written; the library calls it with each value."""
        self._count(size_of(value))
        return value

    def made(self, value: Any) -> Any:
        """Count the characters that operations make: a list may keep them all."""
        self.made_so_far += len(value) if isinstance(value, str) else 0
        _hold("all that it makes", self.made_so_far, _MADE)
        return value

    def joined(self, *values: Any) -> str:
        """Join values, as `~` does."""
        _hold("~", size_of(values), _LARGEST)
        text: str = self.made("".join(map(str, values)))
        return text

    def _count(self, characters: int) -> None:
        self.written += characters
        _hold("what it writes", self.written, _LARGEST)

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        sizes = [size_of(value) for value in (left, right)]
        numbers = [abs(value) for value in (left, right) if isinstance(value, int | float)]
        largest = max(numbers, default=0)
        if operator == "**":
            _hold(f"{operator} with {largest}", largest, 100)
        elif operator == "*":
            _hold(
                f"{operator} with {largest}",
                sum(sizes) if len(numbers) == 2 else max(sizes) * max(largest, 1),
                _LARGEST,
            )
        elif operator == "%" and isinstance(left, str):
            _hold(operator, len(left) * _widest(left, [right]) + sum(sizes), _LARGEST)
        else:
            _hold(operator, sum(sizes), _LARGEST)
        return self.made(super().call_binop(context, operator, left, right))

    def call(self, context: Any, function: Any, *args: Any, **kwargs: Any) -> Any:
        subject = getattr(getattr(function, "__wrapped__", function), "__self__", None)  # the library wraps str.format
        given = [*args, *kwargs.values()]
        _check(getattr(function, "__name__", ""), subject if isinstance(subject, str) else "", given)
        return self.made(super().call(context, function, *args, **kwargs))

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        return attr not in _REFUSED and super().is_safe_attribute(obj, attr, value)

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree = super()._parse(source, name, filename)
        looped: Any
        for looped in tree.find_all((nodes.For, nodes.Macro, nodes.CallBlock)):
            own = sum(len(data.data) for data in looped.find_all(nodes.TemplateData))
            count = nodes.Call(nodes.EnvironmentAttribute("step"), [nodes.Const(own)], [], None, None)
            looped.body.insert(0, nodes.ExprStmt(count))
        return _Joins().visit(tree)


def _bounded(name: str, function: Callable[..., Any], made: Callable[[Any], Any]) -> Callable[..., Any]:
    before = 1 if hasattr(function, "jinja_pass_arg") else 0  # a context stands before the subject

    @functools.wraps(function)
    def bounded(*args: Any, **kwargs: Any) -> Any:
        subject, given = args[before], [*args[before + 1 :], *kwargs.values()]
        if name == "join" and not isinstance(subject, str | list | tuple | Mapping):
            subject = list(subject)
            args = (*args[:before], subject, *args[before + 1 :])
        _check(name, subject, given)
        return made(function(*args, **kwargs))

    return bounded


class _Joins(NodeTransformer):
    """Puts a call in the place of `~`, which the library does not let be intercepted."""

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802 (as the library calls it)
        joined: Any = self.generic_visit(node)
        return nodes.Call(nodes.EnvironmentAttribute("joined"), joined.nodes, [], None, None, lineno=node.lineno)


def size_of(value: Any) -> int:
    """Return how many characters and members a value has, also where the same one stands in several places.

    Does not count on much beyond what is allowed.
    """
    total, rest = 0, [value]
    while rest and total <= _LARGEST:
        one = rest.pop()
        if isinstance(one, str | bytes):
            total += len(one)
        elif isinstance(one, int):
            total += one.bit_length() // 3
            _hold("a number", total if one.bit_length() > 3 * _DIGITS else 0, _DIGITS)
        elif isinstance(one, Mapping):
            total += _MEMBER * len(one)
            rest += [*one.keys(), *one.values()]
        elif isinstance(one, list | tuple | set | frozenset):
            total += _MEMBER * len(one)
            rest += one if total <= _LARGEST else ()
    return total


def _check(name: str, subject: Any, given: list[Any]) -> None:
    """Refuse a call whose result could fill the memory."""
    inside = name in _GROWING or name in _WRITING
    _hold(name, sum(size_of(value) if inside else _length(value) for value in (subject, *given)), _LARGEST)
    if name != "safe_range":  # which the library bounds
        most = 100 if name == "generate_lorem_ipsum" else _NUMBER
        _hold(f"{name} with a number", max(_numbers(given), default=0), most)
    if name in _GROWING:
        of = given[1:] if name == "replace" else given
        longest = max((size_of(value) for value in of), default=0)
        widest = _widest(subject, given) if name.startswith("format") else max(_numbers(of), default=0)
        times = _length(subject)
        if name == "join" and isinstance(subject, str) and given:  # a method, whose subject stands between members
            times, longest = len(subject), _length(given[0])
        _hold(name, times * max(longest if not name.startswith("format") else 0, widest, 1), _LARGEST)


def _length(value: Any) -> int:
    return len(value) if isinstance(value, str | list | tuple | Mapping) else 0


def _widest(pattern: str, given: Iterable[Any]) -> int:
    """Return the largest width that a format or its values may name."""
    named = [int(digits[:9]) for digits in re.findall(r"\d+", pattern)] if isinstance(pattern, str) else []
    return max([1, *named, *_numbers(given)])


def _numbers(values: Iterable[Any]) -> list[int]:
    """Return the sizes of the numbers among values, also of those in tuples."""
    flat = [each for value in values for each in (value if isinstance(value, tuple) else [value])]
    return [int(min(abs(each), 10**18)) for each in flat if isinstance(each, int | float) and each == each]  # noqa: PLR0124


def _hold(what: str, size: float, most: int) -> None:
    if size > most:
        raise SecurityError(f"{what} would fill the memory: {most:,} is the most")
