"""From the keys of conf/data to samples in splits; shared by train, check and evaluate."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd

from ft_lightning.data.exclude import drop_excluded
from ft_lightning.data.split import Splits, by_split, grouped, limited, split_samples
from ft_lightning.readers.sample import Sample

if TYPE_CHECKING:
    from ft_lightning.tasks.task import MakeTask, Task


def narrow(
    samples: list[Sample], group_by: str | None, limit: int | None, split_seed: int
) -> tuple[list[Sample], list[Sample]]:
    """Return the samples that a run uses, with their groups, and those beyond `data.limit`."""
    if group_by:
        samples = grouped(samples, group_by)
    return (samples, []) if limit is None else limited(samples, limit, split_seed)


def divide(
    samples: list[Sample],
    make_task: "MakeTask",
    val_fraction: float,
    test_fraction: float,
    split_seed: int,
    exclude: str | None,
) -> tuple["Task", dict[str, list[Sample]], list[Sample]]:
    """Split all samples, usable or not, so that leaving some out later moves none of the others.

    Returns:
        The task, not fitted yet, the splits, and the samples that `exclude` took out of them.
    """
    task = make_task({split: [sample.label for sample in those] for split, those in by_split(samples).items()})
    splits = split_samples(samples, val_fraction, test_fraction, split_seed, task)
    return task, *(drop_excluded(splits, exclude, task) if exclude else (splits, []))


def split_table(splits: Splits, left_out: Sequence[tuple[Sample, str]] = ()) -> pd.DataFrame:
    """Build split.csv: path, class, split and digest of every sample, and why it was left out if it was."""
    rows = [(sample, split, "") for split, samples in splits.items() for sample in samples]
    rows += [(sample, "", why) for sample, why in left_out]
    cells = [(s.name, s.label, split, "" if s.problem else s.digest, why) for s, split, why in rows]
    return pd.DataFrame(cells, columns=["path", "class", "split", "digest", "excluded"])
