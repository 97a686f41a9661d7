"""The terminal: how numbers, paths and tables look there, and what moves while something goes on."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from ft_lightning.system.errors import printable_lines

console = Console(highlight=False, markup=False)  # a class may be called [b]


def table(columns: Iterable[str], rows: Iterable[Sequence[str]], folded: int = 0) -> None:
    """Print rows of text below their columns.

    Args:
        folded: the first so many columns break long texts into lines, so that the others are shown whole.
    """
    shown = Table(box=None, pad_edge=False)
    for position, name in enumerate(columns):
        how: dict[str, Any] = {"overflow": "fold", "min_width": 12} if position < folded else {"no_wrap": folded > 0}
        shown.add_column(name, **how)
    for row in rows:
        shown.add_row(*row)
    console.print(shown)


def pairs(**lines: str) -> None:
    """Print names and what there is to say of each, line by line, and an empty line."""
    shown = Table(show_header=False, box=None, pad_edge=False)
    shown.add_column(style="bold", min_width=9)  # the longest name, so that all blocks stand in line
    shown.add_column(overflow="fold")
    for name, value in lines.items():
        shown.add_row(name, printable_lines(value))
    console.print(shown)
    console.print()


def number(value: object) -> str:
    """A number with four decimals; "-" for none."""
    if value is None:
        return "-"
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def interval(bounds: Sequence[float] | None) -> str:
    """The bounds of an interval; empty for none."""
    return f"{bounds[0]:.4f} to {bounds[1]:.4f}" if bounds else ""


def short(path: Path) -> Path:
    """The path as a person in this directory would type it."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


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
