"""What `check` says of labels, which depends on the task."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from ft_lightning.data.split import Splits
from ft_lightning.issues.findings import Finding, Issue
from ft_lightning.issues.traits import Trait
from ft_lightning.readers.sample import Sample
from ft_lightning.tasks.task import Task

if TYPE_CHECKING:
    from torch import Tensor


class Suspects(NamedTuple):
    """Labels that do not fit their samples."""

    found: list[tuple[int, str, float]]  # position, what it looks like, score: the most suspicious first
    estimated: int  # number of labels that are probably wrong


class LabelIssues(Protocol):
    """What is said of the labels of one task; a module of that task, listed in `by_task`."""

    COUNTED: str  # title of the section that counts what labels consist of
    NOUN: str  # what a label consists of, such as class
    NOUNS: str
    LOOKS: str  # what suspects do, in the finding about them
    SCORE: str  # what the scores of suspects mean

    def about_labels(self, task: Task, splits: Splits) -> tuple[list[Finding], list[Issue]]:
        """Report what is odd about the labels of each split; needs no content."""

    def about_trait(self, samples: Sequence[Sample], trait: Trait) -> list[Finding]:
        """Report a trait, such as the colour mode, that gives a label away."""

    def suspects(
        self, task: Task, features: "Tensor", labels: Sequence[str], groups: Sequence[str] | None, seed: int
    ) -> Suspects:
        """Find labels that do not fit the features (N, D) of their samples."""

    def record(self, task: Task | None, splits: Splits) -> dict[str, Any]:
        """Return the entries of check.json that count labels; the task is None if the dataset cannot be split."""

    def grouped(self, samples: Iterable[Sample]) -> dict[str, list[Sample]]:
        """Return, by title, groups of samples of which the page shows some."""
