"""Recognises a bug that every trial of a search would meet."""

import optuna

from ft_lightning.search.study import is_of_defaults


class Bugs:
    """The bug by which the trial of the defaults failed, until a trial has a value."""

    def __init__(self) -> None:
        self._of_defaults: tuple[type[BaseException], str, int] | None = None

    def again(self, trial: optuna.Trial, error: Exception) -> bool:
        """Return whether the defaults failed by an error of this type, raised in the same line."""
        place = error.__traceback__
        assert place, "it was raised"
        while place.tb_next:
            place = place.tb_next
        bug = type(error), place.tb_frame.f_code.co_filename, place.tb_lineno
        if is_of_defaults(trial):
            self._of_defaults = bug
            return False
        return bug == self._of_defaults

    def none(self) -> None:
        """Record that a trial has a value, so that others may have one too."""
        self._of_defaults = None
