"""What a config says of its dataset: where it lies, how its samples are listed, and what their labels mean."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from omegaconf import DictConfig, ListConfig

from ft_lightning.cli.job import typed_overrides
from ft_lightning.cli.objects import blaming, make, refuse_others
from ft_lightning.runs.run import Run
from ft_lightning.system.errors import UserError

if TYPE_CHECKING:
    from ft_lightning.data.kinds import Kind
    from ft_lightning.data.labels import Labels
    from ft_lightning.data.scan import FindFiles
    from ft_lightning.tasks.task import MakeTask, Task


def task(cfg: DictConfig) -> "MakeTask":
    """Return the function that makes a task from a dataset's labels."""
    columns = _columns(cfg.data)
    named = [columns] if isinstance(columns, str) else columns
    made = make(cfg, "task")
    return partial(_task, cfg, partial(made, columns=named) if named else made)


def _task(cfg: DictConfig, make_task: "MakeTask", labels: "Mapping[str | None, Sequence[str]]") -> "Task":
    """Make a task from labels by split; raise UserError if it fails, or makes something else."""
    from ft_lightning.tasks.task import Task

    with blaming(cfg, "task"):
        task = make_task(labels)
    refuse_others(task, Task, f"task: {cfg.task._target_}")
    return task


def source(data: DictConfig, kind: "Kind") -> "FindFiles":
    """Return the function that lists a dataset's samples: that of the config, or else that of the kind."""
    return kind.source(make(data, "find") if data.find._target_ else None, data)


def refuse_keys_of_others(kind: "Kind", prefix: str) -> None:
    """Raise UserError for a key that was typed and that says something of samples of other kinds alone.

    Args:
        prefix: what stands before such keys in the command's config, as `data.`.
    """
    from ft_lightning.data.kinds import KINDS

    others = {f"{prefix}{key}" for each in KINDS.values() for key in each.own if key not in kind.own}
    for word in typed_overrides() or ():
        key, _, value = word.lstrip("+").partition("=")
        if key in others and value != "null":
            raise UserError(f"{key}={value}: this model reads {kind.name}s: leave it out.")


def labels(data: DictConfig, task: "type[Task]") -> "Labels":
    """Return how a dataset's labels are read for a task."""
    from ft_lightning.data.labels import Labels

    names = {"sep": "label_sep", "empty": "empty_label", "case_sensitive": "case_sensitive"}
    return Labels(task, _columns(data), **{name: data[key] for name, key in names.items() if key in data})


def _columns(data: DictConfig) -> str | list[str] | None:
    return list(data.label) if isinstance(data.label, ListConfig) else data.label


def location(cfg: DictConfig) -> tuple[str | None, str | None]:
    """Return the dataset's folder and table, one of them perhaps None; makes the dataset if none is given."""
    from ft_lightning.data.kinds import made_by, table_of

    table = table_of(cfg.data)
    if table or cfg.data.root or not cfg.data.get("create"):
        return cfg.data.root or (Run.folder_of(table) if table else None), table
    with blaming(cfg, "data.create"):
        return made_by(make(cfg, "data.create"))
