"""The terminal: the format of numbers, paths and tables, and progress bars."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self, TypeVar

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from ft_lightning.system.errors import decimals, printable_lines

Thing = TypeVar("Thing")

_START = Path.cwd()
console = Console(highlight=False, markup=False)  # a class may be called [b]


def table(columns: Iterable[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table of text."""
    shown = Table(box=None, pad_edge=False)
    for name in columns:
        shown.add_column(name)
    for row in rows:
        shown.add_row(*row)
    console.print(shown)


def lines(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table with one line a row, which a terminal cuts at its right edge; columns without text are left out."""
    kept = [texts for texts in zip(columns, *rows, strict=True) if any(texts[1:])]
    widths = [max(map(cell_len, texts)) for texts in kept]
    how: dict[str, Any] = {"no_wrap": True, "overflow": "ellipsis"} if console.is_terminal else {"soft_wrap": True}
    for row in zip(*kept, strict=True):
        line = "  ".join(set_cell_size(text, width) for text, width in zip(row, widths, strict=True))
        console.print(line.rstrip(), **how)
    console.print()


def pairs(**lines: str) -> None:
    """Print each name with its text, and an empty line."""
    shown = Table(show_header=False, box=None, pad_edge=False)
    shown.add_column(style="bold", min_width=9)  # the longest name, so that all blocks align
    shown.add_column(overflow="fold")
    for name, value in lines.items():
        shown.add_row(name, printable_lines(value))
    console.print(shown)
    console.print()


def number(value: object) -> str:
    """Format a number; "-" for None."""
    if value is None:
        return "-"
    return decimals(value) if isinstance(value, float) else str(value)


def interval(bounds: Sequence[float] | None) -> str:
    """Format the bounds of an interval; empty for None."""
    return " to ".join(map(decimals, bounds)) if bounds else ""


def short(path: Path) -> Path:
    """Return the path relative to the working directory if it lies below it, and the command has not left that."""
    here = Path.cwd()
    return path.relative_to(here) if here == _START and path.is_relative_to(here) else path


def sample_progress(shown: bool) -> Progress:
    """Make a progress bar with samples, samples per second and the time left."""
    return _progress(shown, _Rate())


def counting(what: str, things: Sequence[Thing], shown: bool) -> Iterator[Thing]:
    """Yield each thing, and show how many are done."""
    with _progress(shown) as progress:
        yield from progress.track(things, description=what)


def _progress(shown: bool, *further: ProgressColumn) -> Progress:
    """Make a bar with what is done and the time left, and further columns between them."""
    first = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
    return Progress(
        *first, *further, TimeRemainingColumn(elapsed_when_finished=True), disable=not shown, console=console
    )


class TrialBar:
    """The progress of a search: finished trials, the best value so far, and the trial in progress.

    Without a bar or a terminal each trial is a line.

    Args:
        wanted: total number of trials.
    """

    def __init__(self, wanted: int, shown: bool) -> None:
        self._shown = shown
        self._progress = _progress(shown, TextColumn("{task.fields[best]}{task.fields[now]}"))
        self._bar = self._progress.add_task("Trials", total=wanted, best="", now="")
        self._printed: set[int] | None = None

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._progress.update(self._bar, now="")
        self._progress.stop()

    def report(self, number: int, epoch: int, value: float) -> None:
        """Show the last value of the trial in progress; `epoch` counts from 0."""
        self._progress.update(self._bar, now=f" · trial {number}, epoch {epoch + 1}: {decimals(value)}")

    def watch(self, lines: dict[int, str], best: str) -> None:
        """Show the finished trials; `lines` has one line for each."""
        self._progress.update(self._bar, completed=len(lines), best=best, now="")
        printed = lines.keys() if self._printed is None else self._printed  # skips the trials of an earlier run
        for number in sorted(lines.keys() - printed):
            if not (self._shown and console.is_terminal) or "failed" in lines[number]:
                console.print(lines[number], soft_wrap=True)
        self._printed = set(lines)


class _Rate(ProgressColumn):
    """Samples per second."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:.0f} samples/s" if speed else "")
