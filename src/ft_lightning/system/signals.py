"""Signals: held back for a moment, and found behind the errors that libraries make of them."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def held_back(*numbers: signal.Signals) -> Iterator[None]:
    """Raise signals that come within the block after it; only the main thread, which alone handles them, waits."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    before = {number: signal.signal(number, lambda number, frame: came.append(number)) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)  # None: not Python's
        for caught in came:
            signal.raise_signal(caught)


def signal_behind(error: BaseException) -> BaseException | None:
    """Return what a signal raised where a library raised something else while handling it.

    Lightning turns Ctrl-C into sys.exit(1), and SIGTERM into an exit without a code if Python had to ignore the
    first one; Optuna has an UnboundLocalError after it.
    """
    context: BaseException | None = error
    while context:
        if isinstance(context, KeyboardInterrupt):
            return KeyboardInterrupt()
        if isinstance(context, SystemExit) and context.code == 128 + signal.SIGTERM:
            return context
        if type(context).__name__ == "SIGTERMException":
            return SystemExit(128 + signal.SIGTERM)
        context = context.__context__
    return None
