"""Every task by its name, as conf/task and model.json have it."""

from collections.abc import Mapping, Sequence
from typing import Any

from ft_lightning.system.errors import UserError
from ft_lightning.tasks.multiclass import MultiClass
from ft_lightning.tasks.task import Task

# A task of your own: a class like MultiClass, a line here, a file in conf/task.
TASKS = {MultiClass.name: MultiClass}


def make_task(labels: Mapping[str | None, Sequence[str]], name: str) -> Task:
    """The task called `name`, as the labels of each given split make it; of None where there are no splits yet."""
    return task_class(name).of(labels)


def task_class(name: str) -> type[MultiClass]:
    """The class of a task."""
    if name not in TASKS:
        raise UserError(f"task.name={name} is unknown: use one of {', '.join(TASKS)}.")
    return TASKS[name]


def task_of(card: Mapping[str, Any]) -> Task:
    """The task that model.json describes; without an entry of that name it is one class of several."""
    return TASKS[card.get("task", {}).get("name", MultiClass.name)].from_dict(card)
