"""Which module looks at the labels of which task."""

from ft_lightning.issues import instruct, multiclass, multilabel, regression, unknown
from ft_lightning.issues.label_issues import LabelIssues
from ft_lightning.tasks.registry import entry_for

# A task of your own may add a module like these and a line here; a subclass has that of the class it is made of.
_BY_TASK: dict[str, LabelIssues] = {
    "multiclass": multiclass,
    "multilabel": multilabel,
    "regression": regression,
    "instruct": instruct,
}


def label_issues(task: str) -> LabelIssues:
    """Return the module for the task of that name."""
    return entry_for(_BY_TASK, task) or unknown
