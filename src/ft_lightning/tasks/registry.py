"""All tasks by the name used in conf/task and model.json."""

import sys
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from ft_lightning.system.errors import UserError
from ft_lightning.tasks.instruct import Instruct
from ft_lightning.tasks.multiclass import MultiClass
from ft_lightning.tasks.multilabel import MultiLabel
from ft_lightning.tasks.regression import Regression
from ft_lightning.tasks.selection import rank
from ft_lightning.tasks.task import Task

Entry = TypeVar("Entry")

# For a task of your own, add a class like MultiClass, a line here and a file in conf/task.
TASKS: dict[str, type[Task]] = {each.name: each for each in (MultiClass, MultiLabel, Regression, Instruct)}
DEFAULT: type[Task] = MultiClass  # of models and runs that are older than tasks


def make_task(
    labels: Mapping[str | None, Sequence[str]], name: str, columns: Sequence[str] = (), **arguments: Any
) -> Task:
    """Make the task called `name` from the labels of each split, the columns of `data.label`, and its own arguments."""
    made: Any = task_class(name)
    return made.of(labels, columns, **arguments)


def task_class(name: str) -> type[Task]:
    """Return the class of a task; raise UserError if the name is unknown."""
    if name not in TASKS:
        raise UserError(f"task.name={name} is unknown: use one of {', '.join(TASKS)}.")
    return TASKS[name]


def entry_for(table: Mapping[str, Entry], task: str) -> Entry | None:
    """Return what a table by task has for a task or, if that is a subclass, for the class it is made of.

    None if neither is in it.
    """
    if task not in TASKS:
        return table.get(task)
    names = (vars(each).get("name") for each in task_class(task).__mro__)
    return next((table[name] for name in names if isinstance(name, str) and name in table), None)


def direction_of(monitor: str, task: str) -> str | None:
    """Return whether "max" or "min" is better for `monitor`, such as val/loss; None if that is not known."""
    split, _, metric = monitor.partition("/")
    return TASKS[task].directions.get(metric) if split in ("train", "val") and task in TASKS else None


def title_of(metric: str, task: str) -> str:
    """Return the title of a task's metric, as terminal and page show it."""
    titles = TASKS[task].headline if task in TASKS else {}
    return titles.get(metric, metric.replace("_", " "))


def shown_of(task: Task | type[Task], metrics: Mapping[str, Any]) -> dict[str, str]:
    """Return the titles of the metrics that terminal and page show of a split; those that say something of it."""
    of_classes = metrics.get("per_class")
    few = isinstance(of_classes, Mapping) and len(of_classes) <= 5 and metrics.get("top5_accuracy") == 1
    return {name: title for name, title in task.headline.items() if not (few and name == "top5_accuracy")}


class Score(NamedTuple):
    """The value of a metric of a run."""

    metric: str  # such as f1_macro
    value: float | None  # None where there is no finite number
    loss: float | None  # decides between equal values
    ci95: tuple[float, float] | None  # its 95 % interval
    direction: str | None  # "max" or "min": which is better
    title: str  # of the metric, such as macro F1

    @property
    def rank(self) -> tuple[float, float]:
        """Sort key: smaller is better; a missing value comes last."""
        return rank(self.value, self.loss, self.direction)


def score_of(metrics: object, name: str, metric: str | None = None, direction: str | None = None) -> Score:
    """Return the score of a split's metrics for the task of that name; both may have been edited by hand.

    Args:
        metric: None: the task's own.
        direction: of a metric that does not say it.
    """
    task = TASKS.get(name, DEFAULT)
    metric = metric or task.monitor
    found = metrics if isinstance(metrics, dict) else {}
    bounds = found.get(f"{metric}_ci95")
    low, high = map(finite, bounds) if isinstance(bounds, list) and len(bounds) == 2 else (None, None)
    ci95 = None if low is None or high is None else (low, high)
    better = task.directions.get(metric) or direction
    return Score(metric, finite(found.get(metric)), finite(found.get("loss")), ci95, better, title_of(metric, name))


def finite(value: object) -> float | None:
    """Return a finite number from a JSON file as float; None for anything else."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max
    return float(value) if is_number else None  # type: ignore[arg-type]


def task_name(card: Mapping[str, Any]) -> str:
    """Return the name of the task in model.json or config.yaml; without one it is multiclass."""
    described = card.get("task")
    name = described.get("name") if isinstance(described, dict) else None
    return name if isinstance(name, str) else DEFAULT.name


def task_of(card: Mapping[str, Any]) -> Task:
    """Make the task that model.json describes; MultiClass if it names none."""
    return TASKS[card.get("task", {}).get("name", DEFAULT.name)].from_dict(card)
