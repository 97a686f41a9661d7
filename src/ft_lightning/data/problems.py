"""Samples that cannot be used: reported all at once, on the terminal and in the run's problems.json."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ft_lightning.system.errors import UserError, printable
from ft_lightning.system.files import write_json

_SHOWN = 1000
_LABEL = 60  # characters: that of a conversation is a whole answer


@dataclass(frozen=True, slots=True)
class Problem:
    """One sample that cannot be used, and why."""

    path: str  # absolute
    label: str
    split: str  # empty where it has none
    problem: str

    def __str__(self) -> str:
        label = self.label if len(self.label) <= _LABEL else f"{self.label[:_LABEL]} …"
        place = ", ".join(filter(None, (f"label {label}" if label else "no label", self.split)))
        return f"{printable(self.path)} ({printable(place)}): {printable(self.problem)}."


class DataProblemsError(UserError):
    """All samples of a dataset that cannot be used."""

    def __init__(self, problems: Sequence[Problem], summary: str, fix: str) -> None:
        super().__init__(problems, summary, fix)
        self.problems = list(problems)
        self.summary = summary  # the first line: what is wrong with the dataset as a whole
        self.fix = fix  # the last line: what to do, as a sentence

    def __str__(self) -> str:
        lines = [self.summary, *map(str, self.problems[:_SHOWN])]
        if (more := len(self.problems) - _SHOWN) > 0:
            lines.append(f"... and {more} more, in problems.json of the run's directory.")
        return "\n".join([*lines, self.fix])


def write_problems(problems: Iterable[Problem], file: Path) -> None:
    """Write path, class, split and problem of each sample; without problems remove the file."""
    rows = [{"path": p.path, "class": p.label, "split": p.split, "problem": p.problem} for p in problems]
    if rows:
        write_json(file, rows)
    else:
        file.unlink(missing_ok=True)  # left by an earlier, refused attempt
