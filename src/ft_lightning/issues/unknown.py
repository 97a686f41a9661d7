"""For a task without a module of its own: nothing is said of its labels, and none is suspicious."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from ft_lightning.data.split import Splits
from ft_lightning.issues.findings import Finding, Issue
from ft_lightning.issues.label_issues import Suspects
from ft_lightning.issues.traits import Trait
from ft_lightning.readers.sample import Sample
from ft_lightning.tasks.task import Task

if TYPE_CHECKING:
    from torch import Tensor


COUNTED, NOUN, NOUNS, LOOKS, SCORE = "Labels", "label", "labels", "", "label, 0"


def about_labels(task: Task, splits: Splits) -> tuple[list[Finding], list[Issue]]:
    return [], []


def about_trait(samples: Sequence[Sample], trait: Trait) -> list[Finding]:
    return []


def suspects(
    task: Task, features: "Tensor", labels: Sequence[str], groups: Sequence[str] | None, seed: int
) -> Suspects:
    return Suspects([], 0)


def record(task: Task | None, splits: Splits) -> dict[str, Any]:
    return {"classes": {}}


def grouped(samples: Iterable[Sample]) -> dict[str, list[Sample]]:
    return {"": list(samples)}
