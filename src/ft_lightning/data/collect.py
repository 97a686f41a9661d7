"""From the keys of conf/data to samples in splits; shared by train, check and evaluate."""

import logging
from collections import defaultdict
from collections.abc import Iterable, Sequence

import pandas as pd

from ft_lightning.data.exclude import drop_excluded
from ft_lightning.data.groups import grouped
from ft_lightning.data.labels import tidy
from ft_lightning.data.scan import split_called
from ft_lightning.data.split import Splits, by_split, limited, split_samples
from ft_lightning.readers.sample import Sample
from ft_lightning.system.errors import UserError, name_few, number_of
from ft_lightning.tasks.task import MakeTask, Task

log = logging.getLogger(__name__)


def narrow(
    samples: list[Sample], group_by: str | None, limit: int | None, split_seed: int, task: type[Task]
) -> tuple[list[Sample], list[Sample]]:
    """Return the samples that a run uses, with their groups, and those beyond `data.limit`."""
    if group_by:
        samples = grouped(samples, group_by)
    if limit is None:
        return samples, []
    chosen, beyond = limited(samples, limit, split_seed, task)
    log.warning(
        "data.limit=%s: %d of %s used.", limit, len(chosen), number_of(len(samples), "sample is", "samples are")
    )
    return chosen, beyond


def divide(
    samples: list[Sample],
    make_task: MakeTask,
    val_fraction: float,
    test_fraction: float,
    split_seed: int,
    exclude: str | None,
) -> tuple[Task, dict[str, list[Sample]], list[Sample]]:
    """Split all samples, usable or not, so that leaving some out later moves none of the others.

    Returns:
        The task, not fitted yet, the splits, and the samples that `exclude` took out of them.
    """
    try:
        task = make_task({split: [sample.label for sample in those] for split, those in by_split(samples).items()})
    except UserError as error:
        if hint := too_high(samples):
            raise UserError(f"{error} {hint}") from error
        raise
    splits = split_samples(samples, val_fraction, test_fraction, split_seed, task)
    return task, *(drop_excluded(splits, exclude, task) if exclude else (splits, []))


def too_high(samples: Sequence[Sample]) -> str:
    """Say that `data.root` may be one folder too high; empty if nothing looks like it."""
    nested = nested_folders(samples)
    kind = next((sample.kind for sample in samples), "")
    inner = sorted({name for names in nested.values() for name in names})
    said = f"All {kind}s of {name_few(list(nested))} lie in folders below ({name_few(inner)})"
    return f"{said}: if those are the classes or splits, data.root is one folder too high." if nested else ""


def split_table(splits: Splits, left_out: Sequence[tuple[Sample, str]] = (), weighted: bool = False) -> pd.DataFrame:
    """Build split.csv: path, class, split and digest of every sample, and why it was left out if it was.

    Args:
        weighted: whether it has the samples' weights too.
    """
    rows = [(sample, split, "") for split, samples in splits.items() for sample in samples]
    rows += [(sample, "", why) for sample, why in left_out]
    cells = [(s.name, s.label, split, "" if s.problem else s.digest, why) for s, split, why in rows]
    table = pd.DataFrame(cells, columns=["path", "class", "split", "digest", "excluded"])
    return table.assign(weight=[str(sample.weight) for sample, _, _ in rows]) if weighted else table


def nested_folders(samples: Iterable[Sample]) -> dict[str, list[str]]:
    """Return each class folder whose images all lie in folders of its own, with the names of those.

    They may be the classes, and `data.root` one folder too high. A class folder with a single one is not returned,
    unless it is called like a split.
    """
    inner: dict[str, set[str]] = defaultdict(set)
    for sample in samples:
        parts = sample.name.split("/")
        top = 1 if sample.split and split_called(parts[0]) == sample.split else 0
        if len(parts) > top + 1 and tidy(parts[top]) == sample.label:
            inner["/".join(parts[: top + 1])].add(parts[top + 1] if len(parts) > top + 2 else "")
    nested = {folder: sorted(names) for folder, names in inner.items() if "" not in names}
    return {folder: names for folder, names in nested.items() if len(names) > 1 or split_called(names[0])}
