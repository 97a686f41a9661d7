"""Progress bars: of the feature pass, and of epochs that may be faster than a terminal."""

import time

from lightning.pytorch.callbacks import RichProgressBar
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

_SECONDS = 0.1  # between two drawings


def sample_progress(shown: bool) -> Progress:
    """A bar with samples, samples a second and the time left."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeRemainingColumn(elapsed_when_finished=True),
    )
    return Progress(*columns, disable=not shown)


class EpochBar(RichProgressBar):
    """Lightning's bar, drawn ten times a second: drawn at each step it takes longer than a step on stored features."""

    def __init__(self) -> None:
        super().__init__()
        self._drawn = 0.0

    def refresh(self, hard: bool = False) -> None:
        if hard or time.monotonic() - self._drawn > _SECONDS:
            self._drawn = time.monotonic()
            super().refresh(hard)


class _Rate(ProgressColumn):
    """Samples a second."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:.0f} samples/s" if speed else "")
