"""What the labels of a source mean to a task: `data.label`, `data.label_sep` and `data.empty_label`."""

import logging
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from ft_lightning.system.errors import UserError, name_few, number_of
from ft_lightning.tasks.registry import DEFAULT
from ft_lightning.tasks.task import Task

log = logging.getLogger(__name__)

EMPTY = ("error", "skip", "none")
OnProblem = Callable[[str], None]
Cells = str | Mapping[str, str]  # a label as its source has it: a text, or the cell of each of its columns


@dataclass(frozen=True, slots=True)
class Labels:
    """How a source's labels are read.

    Args:
        task: whose targets they are.
        columns: of a table: the label's column, or several; None: the one called label.
        sep: what stands between the labels of a sample that may have several.
        empty: what a sample without a label means: one of `EMPTY`; None: as the task says.
        case_sensitive: whether Cat and cat are two names.
        weight: of a table: the column with the samples' weights; None: all count alike.
    """

    task: type[Task] = DEFAULT
    columns: str | Sequence[str] | None = None
    sep: str = ";"
    empty: str | None = None
    case_sensitive: bool = False
    weight: str | None = None

    def __post_init__(self) -> None:
        if self.columns is not None and not isinstance(self.columns, str):
            if not self.columns:
                raise UserError("data.label=[] names no column: name one or several, or leave it out.")
            if twice := [name for name, count in Counter(self.columns).items() if count > 1]:
                raise UserError(f"data.label names {name_few(twice)} twice: name each column once.")
        if self.empty not in (None, *EMPTY):
            raise UserError(f"data.empty_label={self.empty} is unknown: use one of {', '.join(EMPTY)}.")
        if self.empty == "none" and self.task.empty != "none":
            raise UserError(f"data.empty_label=none: a sample of task={self.task.name} cannot be without a label.")
        if not (self.sep or "").strip():
            raise UserError("data.label_sep is blank: use a sign that stands in no label, such as ;.")

    def read(self, named: Sequence[tuple[str, Cells]], where: str, on_problem: OnProblem) -> list[str | None]:
        """Return the label of each sample, written as the task writes it; None for a sample to be left out.

        Args:
            named: the name and label of each sample.
            where: what the labels stand in, for messages.
            on_problem: called with each problem of the labels; if it returns, what has one is left out.
        """
        written: list[str | None] = []
        without: list[str] = []
        refused: list[tuple[str, str]] = []
        # A sample without a tag has none; one without a 0 or 1 in any column is hardly looked at yet.
        in_columns = any(not isinstance(cells, str) for _, cells in named)
        empty = self.empty or ("error" if in_columns else self.task.empty)
        for name, cells in named:
            each = [cells] if isinstance(cells, str) else list(cells.values())
            if not any(map(_shows, each)):
                without.append(name)
                written.append("" if empty == "none" else None)
                continue
            try:
                written.append(self.task.read(cells, self.sep))
            except ValueError as error:
                refused.append((name, str(error)))
                written.append(None)
        if refused:
            names, (why, *others) = [name for name, _ in refused], {error for _, error in refused}
            each = [f"{name} ({error})" for name, error in refused]
            told = f" ({why}): {name_few(names)}" if len(names) > 1 and not others else f": {name_few(each)}"
            on_problem(f"{where}: {number_of(len(refused), 'label')} cannot be read{told}.")
        if without and empty == "error":
            none = " (none, if they have none of the labels)" if self.task.empty == "none" else ""
            on_problem(
                f"{where}: {number_of(len(without), 'sample has', 'samples have')} no label: {name_few(without)}; "
                f"a label is a text, and not empty. Label them, or say data.empty_label=skip{none}."
            )
        elif without and empty == "skip":
            number = number_of(len(without), "sample without a label is", "samples without a label are")
            log.warning("%s: %s left out: %s.", where, number, name_few(without))
        self._check_names({label for label in written if label}, where, on_problem)
        return [None if label is None else tidy(label) for label in written]

    def _check_names(self, labels: Iterable[str], where: str, on_problem: OnProblem) -> None:
        """Report names that are written in two ways."""
        ways: list[tuple[Callable[[str], str], str]] = [
            (tidy, "rename one"),
            (_seen, "rename one"),
            (_whole, "write the number in one way"),
        ]
        if not self.case_sensitive:
            ways.append(
                (lambda name: _seen(name).casefold(), "rename one, or set data.case_sensitive=true if they are two")
            )
        names = {name for label in labels for name in self.task.names_in(label)}
        for reading, fix in ways:
            alike: dict[str, list[str]] = defaultdict(list)
            for name in sorted(names):
                alike[reading(name)].append(name)
            for group in alike.values():
                if len(group) > 1:
                    on_problem(f"{where}: the labels {' and '.join(map(ascii, group))} read the same: {fix}.")
            names = {tidy(group[0]) for group in alike.values()}  # so that none is reported twice


def tidy(label: str) -> str:
    """Return a name without blanks at its ends, each letter as one character where Unicode has one."""
    return unicodedata.normalize("NFC", label).strip()


def _seen(label: str) -> str:
    """Return a name as it looks: without letters that cannot be seen, any run of blanks as one."""
    letters = (one for one in label if (one.isprintable() or one.isspace()) and one not in "\ufe0e\ufe0f")
    return " ".join("".join(letters).split())


def _whole(label: str) -> str:
    """Return a whole number without the decimals that spreadsheets and pandas add."""
    return re.sub(r"^([+-]?\d+)\.0*$", r"\1", label)


def _shows(label: str) -> bool:
    """Return whether a label has a visible letter; zero-width spaces are not."""
    return any(letter.isprintable() and not letter.isspace() for letter in label)
