"""Where a study is kept: Optuna's database, with transactions that no signal breaks off."""

import functools
import inspect
import signal
from collections.abc import Callable
from typing import Any

from optuna.storages import RDBStorage
from sqlalchemy import NullPool

from ft_lightning.system.signals import held_back

_TIMEOUT_S = 60  # for which SQLite waits while other processes write


class WholeStorage(RDBStorage):
    """A database whose transactions end before Ctrl-C or SIGTERM is raised.

    One left open would hold its lock until the error is forgotten, against this process too, which has to write down
    how the trial ended. SQLite's connections are kept in no pool, as nobody would close them.
    """

    def __init__(self, url: str, **options: Any) -> None:
        sqlite = {"connect_args": {"timeout": _TIMEOUT_S}, "poolclass": NullPool}
        with held_back(signal.SIGINT, signal.SIGTERM):
            super().__init__(url, sqlite if url.startswith("sqlite") else {}, **options)


def _whole(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def called(*args: Any, **kwargs: Any) -> Any:
        with held_back(signal.SIGINT, signal.SIGTERM):
            return method(*args, **kwargs)

    return called


for _name, _method in vars(RDBStorage).items():  # Optuna's cache calls private ones too
    if inspect.isfunction(_method) and not _name.startswith("__"):
        setattr(WholeStorage, _name, _whole(_method))
