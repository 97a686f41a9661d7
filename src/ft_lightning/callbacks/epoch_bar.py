"""A progress bar for epochs that may be faster than the terminal."""

import time

from lightning.pytorch.callbacks import RichProgressBar

_SECONDS = 0.1  # between two refreshes


class EpochBar(RichProgressBar):
    """Lightning's bar, drawn ten times a second: a refresh takes longer than a step on stored features."""

    def __init__(self) -> None:
        super().__init__()
        self._drawn = 0.0

    def refresh(self, hard: bool = False) -> None:
        if hard or time.monotonic() - self._drawn > _SECONDS:
            self._drawn = time.monotonic()
            super().refresh(hard)
