"""What fits an annotation, and the words for it."""

import datetime
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import pytest

from ft_lightning.system.kinds import Count, Natural, NotNegative, Seed, Share, as_text, fits, parameters_of, words

ANYTHING: Any = Any


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        (bool, [True, False], [1, "off", None, 0.0]),
        (int, [0, -3], [True, 2.5, "two", None]),
        (float, [0, 2.5, -1.0], [False, "1e-3", None, float("nan")]),
        (str, ["a", "", 2024, 2.5], [True, None, ["a"]]),
        (Count, [1, 99], [0, -1, 1.5, True, "1"]),
        (Natural | None, [0, None], [-1, "none"]),
        (Share, [0, 1, 0.5, 1.0], [1.01, -0.1, "half", True]),
        (NotNegative, [0, 1e30], [-1e-9]),
        (Seed, [0, 2**32 - 1], [2**32, -1]),
        (int | list[int] | str, [1, [0, 1], "auto"], [2.5, ["a"], None]),
        (Literal["a", "b"], ["a"], ["c", None, 1]),
        (Literal[False], [False], [True, 0]),
        (bool | Literal["warn"], [True, "warn"], ["warning", 1]),
        (tuple[float, float], [[0.9, 0.99]], [[0.9], [1, 2, 3], 0.9, ["a", "b"]]),
        (Sequence[float] | None, [[1, 2.0], [], None], [["x"], 1, "ab"]),
        (dict[str, int], [{"a": 1}], [1, [1], None]),
        (Callable[[], Path] | None, [None, {"_target_": "os.getcwd"}], ["os.getcwd", 1]),
        (datetime.timedelta, [{"_target_": "datetime.timedelta"}, "an annotation that says nothing"], []),
        (ANYTHING, [None, 1, "x"], []),
    ],
)
def test_what_fits(kind: Any, good: list[Any], bad: list[Any]) -> None:
    assert [value for value in good if not fits(value, kind)] == []
    assert [value for value in bad if fits(value, kind)] == []


def test_a_number_is_text_where_only_text_fits() -> None:
    assert [as_text(2024, kind) for kind in (str, str | None, str | int, int, Count | str)] == ["2024", "2024"] + 3 * [
        2024
    ]
    assert as_text([0, "a"], str | list[str] | None) == ["0", "a"]
    assert as_text([0], list[int] | str) == [0]
    assert as_text(None, str | None) is None
    assert as_text(True, str) is True


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (bool, "true or false"),
        (Count | None, "a whole number from 1 or null"),
        (None | Share, "a number from 0 to 1 or null"),
        (Literal["random", "probe"], "one of random, probe"),
        (Literal[False], "false"),
        (tuple[float, float], "a list of 2, each a number"),
        (list[str] | str, "a list, each text or text"),
        (datetime.timedelta, ""),
    ],
)
def test_the_words_for_it(kind: Any, said: str) -> None:
    assert words(kind) == said


def test_parameters_are_those_of_a_signature() -> None:
    def function(a: int, b: "float" = 2, *rest: int, **more: str) -> None: ...

    named, others = parameters_of(function)
    assert (named.keys(), named["a"].kind, named["b"].kind) == ({"a", "b"}, int, float)
    assert named["b"].takes(2.5)
    assert not named["b"].takes("x")
    zero, _ = parameters_of(lambda weight=0: None)
    assert zero["weight"]._replace(kind=float).takes(0)
    assert not zero["weight"]._replace(kind=float).takes(False), "which equals the default"
    assert others
    assert others.kind is str
    with_default, nothing_else = parameters_of(wrongly_annotated)
    assert with_default["a"].takes(None), "a default fits, whatever its annotation says"
    assert nothing_else is None


def wrongly_annotated(a: int = None) -> None:  # type: ignore[assignment]  # noqa: RUF013
    """As libraries write it."""


def test_a_whole_number_that_no_library_can_hold_does_not_fit() -> None:
    assert fits(10**18, Count)
    assert not fits(10**20, Count)
    assert not fits(10**400, Count)
    assert not fits(-(10**20), int)
    assert words(Count) == "a whole number from 1"
