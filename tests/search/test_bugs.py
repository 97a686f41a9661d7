"""A bug that every trial would meet is recognised at the second trial, and no other is."""

from types import SimpleNamespace
from typing import Any

from ft_lightning.search.bugs import Bugs
from ft_lightning.search.study import _DEFAULTS

DEFAULTS: Any = SimpleNamespace(user_attrs={_DEFAULTS: True})
ANOTHER: Any = SimpleNamespace(user_attrs={})


def raised(kind: type[Exception], elsewhere: bool = False) -> Exception:
    try:
        if elsewhere:
            raise kind("there")
        raise kind(f"here {id(object())}")
    except Exception as error:
        return error


def test_the_same_line_and_type_after_the_defaults() -> None:
    bugs = Bugs()
    assert not bugs.again(DEFAULTS, raised(KeyError))
    assert not bugs.again(ANOTHER, raised(ValueError))
    assert not bugs.again(ANOTHER, raised(KeyError, elsewhere=True))
    assert bugs.again(ANOTHER, raised(KeyError))


def test_a_value_shows_that_others_can_do_without_it() -> None:
    bugs = Bugs()
    assert not bugs.again(ANOTHER, raised(KeyError)), "the defaults have not failed"
    bugs.again(DEFAULTS, raised(KeyError))
    bugs.none()
    assert not bugs.again(ANOTHER, raised(KeyError))
