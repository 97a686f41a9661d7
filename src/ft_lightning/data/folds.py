"""Divides samples for cross-validation: each is tested in exactly one fold."""

from collections import Counter

from ft_lightning.data.split import cut, lost, units_by_stratum
from ft_lightning.readers.sample import Sample
from ft_lightning.system.errors import UserError, name_few
from ft_lightning.tasks.task import Task

_MOST = 0.5  # of the samples that are not tested: val's share


def fold_splits(
    samples: list[Sample], folds: int, val_share: float, split_seed: int, task: Task
) -> list[dict[str, list[Sample]]]:
    """Return train, val and test of each fold: each sample is tested in one, and trains or is val in the others.

    Units and strata are those of `split_samples`: identical files and the files of a group stay together, and each fold
    has about the same number of each stratum.

    Args:
        val_share: of all samples; at most half of those that a fold does not test.

    Raises:
        UserError: a fold lacks a split, or what the task needs in train, such as a class.
    """
    if folds > len(samples):
        raise UserError(f"folds={folds}: there are {len(samples)} samples only: use fewer folds.")
    fold_of = _fold_of(samples, folds, split_seed, task)
    found = []
    for fold in range(folds):
        rest = [sample for sample in samples if fold_of[sample.name] != fold]
        share = min(_MOST, val_share * len(samples) / max(1, len(rest)))
        split_of = cut(rest, {"val": share}, split_seed, task, quiet=True)
        splits = {split: [sample for sample in rest if split_of[sample.name] == split] for split in ("train", "val")}
        splits["test"] = [sample for sample in samples if fold_of[sample.name] == fold]
        if gone := lost(task, splits):
            raise UserError(
                f"folds={folds}: fold {fold + 1} leaves no sample for {name_few(gone)}: add different samples, use "
                "fewer folds, or another data.split_seed."
            )
        found.append(splits)
    return found


def _fold_of(samples: list[Sample], folds: int, seed: int, task: Task) -> dict[str, int]:
    """Return sample name -> fold: each unit goes where fewest samples of its stratum are, or else fewest of all."""
    result: dict[str, int] = {}
    sizes = [0] * folds
    for _, units in sorted(units_by_stratum(samples, seed, task).items()):
        own: Counter[int] = Counter()
        for unit in sorted(units, key=len, reverse=True):  # large ones first, equal ones by their hashes
            fold = min(range(folds), key=lambda number: (own[number], sizes[number], number))
            own[fold] += len(unit)
            sizes[fold] += len(unit)
            result |= {sample.name: fold for sample in unit}
    return result
