"""What moves while something goes on: bars of the feature pass and of trials, and a sign of life."""

from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.status import Status
from rich.text import Text

console = Console(highlight=False, markup=False)  # a class may be called [b]


def sample_progress(shown: bool) -> Progress:
    """A bar with samples, samples a second and the time left."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeRemainingColumn(elapsed_when_finished=True),
    )
    return Progress(*columns, disable=not shown, console=console)


def working(said: str) -> Status:
    """Something whose end is not known goes on within this context; nothing is shown where nobody watches."""
    return console.status(said)


class TrialBar:
    """A search: trials that are done, the best value so far, and where the one in progress is.

    Where nobody watches, each trial is a line.

    Args:
        wanted: trials in all.
    """

    def __init__(self, wanted: int, shown: bool) -> None:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[best]}{task.fields[now]}"),
            TimeRemainingColumn(elapsed_when_finished=True),
        )
        self._shown = shown
        self._progress = Progress(*columns, disable=not shown, console=console)
        self._bar = self._progress.add_task("Trials", total=wanted, best="", now="")
        self._told: set[int] | None = None

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._progress.update(self._bar, now="")
        self._progress.stop()

    def report(self, number: int, epoch: int, value: float) -> None:
        """The last value of the trial in progress."""
        self._progress.update(self._bar, now=f" · trial {number}, epoch {epoch}: {value:.4f}")

    def watch(self, lines: dict[int, str], best: str) -> None:
        """What has been found so far, a line a finished trial."""
        self._progress.update(self._bar, completed=len(lines), best=best, now="")
        told = lines.keys() if self._told is None else self._told  # what an earlier run has found is no news
        for number in sorted(lines.keys() - told):
            if not (self._shown and console.is_terminal) or "failed" in lines[number]:
                console.print(lines[number], soft_wrap=True)
        self._told = set(lines)


class _Rate(ProgressColumn):
    """Samples a second."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:.0f} samples/s" if speed else "")
