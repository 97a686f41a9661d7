"""Every task by its name, as conf/task and model.json have it."""

import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ft_lightning.system.errors import UserError
from ft_lightning.tasks.multiclass import MultiClass
from ft_lightning.tasks.task import Task

# A task of your own: a class like MultiClass, a line here, a file in conf/task.
TASKS: dict[str, type[Task]] = {MultiClass.name: MultiClass}


def make_task(labels: Mapping[str | None, Sequence[str]], name: str) -> Task:
    """The task called `name`, as the labels of each given split make it; of None where there are no splits yet."""
    return task_class(name).of(labels)


def task_class(name: str) -> type[Task]:
    """The class of a task."""
    if name not in TASKS:
        raise UserError(f"task.name={name} is unknown: use one of {', '.join(TASKS)}.")
    return TASKS[name]


class Score(NamedTuple):
    """How good answers are by the task's own metric."""

    metric: str  # such as accuracy
    value: float | None  # None where there is no finite number
    ci95: tuple[float, float] | None  # its 95 % interval
    direction: str  # "max" or "min": which is better

    @property
    def rank(self) -> float:
        """Smaller is better; none comes last."""
        return math.inf if self.value is None else self.value * (1 if self.direction == "min" else -1)


def score_of(metrics: object, name: str) -> Score:
    """The score in what metrics.json says of a split, for the task of that name; somebody may have changed both."""
    task = TASKS.get(name, MultiClass)
    metric = task.monitor
    found = metrics if isinstance(metrics, dict) else {}
    bounds = found.get(f"{metric}_ci95")
    low, high = map(finite, bounds) if isinstance(bounds, list) and len(bounds) == 2 else (None, None)
    ci95 = None if low is None or high is None else (low, high)
    return Score(metric, finite(found.get(metric)), ci95, task.directions[metric])


def finite(value: object) -> float | None:
    """The number that stands in a JSON file; None for anything else."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max
    return float(value) if is_number else None  # type: ignore[arg-type]


def task_name(card: Mapping[str, Any]) -> str:
    """The name of the task that model.json or config.yaml has; without one it is one class of several."""
    described = card.get("task")
    return str(described.get("name")) if isinstance(described, dict) else MultiClass.name


def task_of(card: Mapping[str, Any]) -> Task:
    """The task that model.json describes; without an entry of that name it is one class of several."""
    return TASKS[card.get("task", {}).get("name", MultiClass.name)].from_dict(card)
