"""The bar of epochs that may be faster than a terminal."""

import time

from lightning.pytorch.callbacks import RichProgressBar

_SECONDS = 0.1  # between two drawings


class EpochBar(RichProgressBar):
    """Lightning's bar, drawn ten times a second: drawn at each step it takes longer than a step on stored features."""

    def __init__(self) -> None:
        super().__init__()
        self._drawn = 0.0

    def refresh(self, hard: bool = False) -> None:
        if hard or time.monotonic() - self._drawn > _SECONDS:
            self._drawn = time.monotonic()
            super().refresh(hard)
