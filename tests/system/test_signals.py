"""Signals wait for what must not be broken off, and are found behind what libraries make of them."""

import signal
import threading
from collections.abc import Callable

import pytest

from ft_lightning.system.signals import held_back, signal_behind


def test_a_signal_within_the_block_is_raised_after_it() -> None:
    done = []

    def interrupted() -> None:
        with held_back(signal.SIGINT), held_back(signal.SIGINT, signal.SIGTERM):
            signal.raise_signal(signal.SIGINT)
            done.append("the rest of the block")

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert done
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_it_is_raised_after_an_error_of_the_block_too() -> None:
    def broken() -> None:
        with held_back(signal.SIGINT):
            signal.raise_signal(signal.SIGINT)
            raise ValueError("of the block")

    with pytest.raises(KeyboardInterrupt) as raised:
        broken()
    assert isinstance(raised.value.__context__, ValueError)


def test_another_thread_leaves_signals_alone() -> None:
    handlers = []

    def look() -> None:
        with held_back(signal.SIGINT):
            handlers.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert handlers == [signal.getsignal(signal.SIGINT)]


class SIGTERMException(BaseException):
    """As Lightning calls its own."""


@pytest.mark.parametrize(
    ("first", "found"),
    [
        (KeyboardInterrupt(), KeyboardInterrupt),
        (SIGTERMException(), SystemExit),
        (SystemExit(128 + signal.SIGTERM), SystemExit),
        (SystemExit(1), type(None)),
        (ValueError(), type(None)),
    ],
)
def test_the_signal_behind_an_error_is_found(first: BaseException, found: type) -> None:
    def library() -> None:
        try:
            raise first
        finally:
            raise UnboundLocalError("while it was handled")

    assert type(signal_behind(raised_by(library))) is found


def raised_by(function: Callable[[], None]) -> BaseException:
    with pytest.raises(UnboundLocalError) as raised:
        function()
    return raised.value
