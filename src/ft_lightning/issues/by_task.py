"""Which module looks at the labels of which task."""

from ft_lightning.issues import multiclass, multilabel
from ft_lightning.issues.label_issues import LabelIssues
from ft_lightning.system.errors import UserError
from ft_lightning.tasks.registry import entry_for

# A task of your own adds a module like these and a line here, unless it is a subclass of one that is here.
_BY_TASK: dict[str, LabelIssues] = {"multiclass": multiclass, "multilabel": multilabel}


def label_issues(task: str) -> LabelIssues:
    """Return the module for the task of that name."""
    found = entry_for(_BY_TASK, task)
    if found is None:
        raise UserError(f"Nothing looks at the labels of the task {task}: add its module to issues/by_task.py.")
    return found
