"""What an exception means to a user, however it was wrapped on its way."""

from hydra.errors import InstantiationException

from ft_lightning.cli.known_errors import known_error
from ft_lightning.system.errors import NumericalError, UserError


def wrapped(error: Exception, times: int) -> Exception:
    for _ in range(times):
        outer = InstantiationException("Error in call to target")
        outer.__cause__ = error
        error = outer
    return error


def test_a_typed_error_is_found_below_any_number_of_wrappers() -> None:
    for typed in (UserError("mend it"), NumericalError("not finite")):
        for times in (0, 1, 3):
            assert known_error(wrapped(typed, times)) is typed


def test_what_a_library_refuses_is_the_user_s_and_a_bug_is_nobody_s() -> None:
    assert isinstance(known_error(wrapped(ValueError("momentum"), 1)), UserError)
    assert known_error(wrapped(ZeroDivisionError(), 1)) is None
    assert known_error(ZeroDivisionError()) is None
