"""From what conf/data says to samples in splits: what train, check and evaluate have in common."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import pandas as pd

from ft_lightning.data.exclude import drop_excluded
from ft_lightning.data.split import SPLIT_COLUMNS, Splits, grouped, limited, refuse_untrained, split_samples
from ft_lightning.readers.sample import Sample

if TYPE_CHECKING:
    from ft_lightning.tasks.task import MakeTask, Task


class Collected(NamedTuple):
    """Samples in splits, usable or not."""

    task: "Task"  # not fitted yet
    splits: dict[str, list[Sample]]
    excluded: list[Sample]  # by data.exclude


def narrow(
    samples: list[Sample], group_by: str | None, limit: int | None, split_seed: int
) -> tuple[list[Sample], list[Sample]]:
    """The samples that a run looks at, with their groups, and those beyond `data.limit`."""
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
) -> Collected:
    """Train, val and test of all samples, usable or not, so that leaving some out moves none of the others."""
    task = make_task(labels_by_split(samples))
    splits = split_samples(samples, val_fraction, test_fraction, split_seed, task)
    refuse_untrained(task, splits)
    splits, excluded = drop_excluded(splits, exclude, task) if exclude else (splits, [])
    return Collected(task, splits, excluded)


def labels_by_split(samples: Sequence[Sample]) -> dict[str | None, list[str]]:
    """Labels by the split that the layout or table of their samples names; None where it names none."""
    labels: dict[str | None, list[str]] = {}
    for sample in samples:
        labels.setdefault(sample.split, []).append(sample.label)
    return labels


def by_given_split(samples: Sequence[Sample]) -> dict[str, list[Sample]]:
    """Samples by the split that their layout or table names; "" where it names none."""
    splits: dict[str, list[Sample]] = {}
    for sample in samples:
        splits.setdefault(sample.split or "", []).append(sample)
    return splits


def split_table(splits: Splits, left_out: Sequence[tuple[Sample, str]] = ()) -> pd.DataFrame:
    """split.csv: where every sample went, path, class, split and digest, and why one was left out."""
    rows = [(sample, split, "") for split, samples in splits.items() for sample in samples]
    rows += [(sample, "", why) for sample, why in left_out]
    return pd.DataFrame(
        [(s.name, s.label, split, "" if s.problem else s.digest, why) for s, split, why in rows],
        columns=SPLIT_COLUMNS,
    )
