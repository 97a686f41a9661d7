"""`folds=5`: cross-validation on stored features; each sample is tested once, by a head trained on the other folds."""

import logging
from collections.abc import Mapping, Sequence

import pandas as pd
import torch
from omegaconf import DictConfig

from ft_lightning.build import Pretrained
from ft_lightning.callbacks.stored_features import RowCache
from ft_lightning.data.folds import fold_splits
from ft_lightning.data.protocol import Data
from ft_lightning.readers.sample import Sample
from ft_lightning.runs.run import Run
from ft_lightning.runs.write import answers_table
from ft_lightning.search.spread import calibrated, spread
from ft_lightning.search.workbench import Workbench
from ft_lightning.system.console import counting
from ft_lightning.system.errors import UserError
from ft_lightning.tasks.task import Details, Outputs, Task

log = logging.getLogger(__name__)

FoldSplits = Sequence[Mapping[str, Sequence[Sample]]]


def fold_plan(cfg: DictConfig, data: Data) -> FoldSplits:
    """Return the splits of each fold of all samples, in which val has the share that it has in the run's own split.

    Raises:
        UserError: a fold would lack something, the data cannot be divided anew, or `init_from` has trained on samples
            that the folds test.
    """
    if not hasattr(data, "divided"):
        raise UserError(f"folds={cfg.folds}: {type(data).__name__} has no divided(splits): add it, or say folds=1.")
    samples = _samples(data)
    if cfg.init_from:
        seen = Run.of_model(cfg.init_from).trained_on()
        if seen is None or any(sample.digest in seen for sample in samples):
            may = "may have" if seen is None else "has"
            raise UserError(
                f"folds={cfg.folds} tests all samples, but the model of init_from={cfg.init_from} {may} trained on "
                "some of them: leave one out."
            )
    if any(sample.split for sample in samples):
        log.warning("folds=%d tests all samples once: the given splits are joined for it.", cfg.folds)
    share = len(data.splits["val"]) / len(samples)
    return fold_splits(samples, cfg.folds, share, cfg.data.split_seed, data.task)


def cross_validate(cfg: DictConfig, data: Data, splits: FoldSplits, pretrained: Pretrained, rows: RowCache) -> Details:
    """Train and test each fold on stored features, and measure the answers of all together.

    Everything that is fitted, also by calibration, is fitted within a fold.

    Args:
        splits: from `fold_plan`.
        rows: existing stored features of all samples of the data.

    Returns:
        samples (tested in each fold); for val and test for each metric of an epoch: values, mean, sd; pooled: all
        metrics of all test answers together. And the table of those, with the column fold.
    """
    at = {sample.name: i for i, sample in enumerate(s for those in data.splits.values() for s in those)}
    found: list[tuple[Task, Mapping[str, Outputs]]] = []
    parts: list[tuple[Task, Outputs]] = []
    tables = []
    for number, fold in enumerate(counting("Folds", splits, cfg.trainer.enable_progress_bar), start=1):
        own = data.divided(fold)
        positions = {split: torch.tensor([at[sample.name] for sample in those]) for split, those in fold.items()}
        outputs = Workbench(list(fold), own, pretrained, rows.divided(own, positions)).outputs(cfg)
        task, tested = calibrated(own.task, outputs), outputs["test"]
        found.append((task, outputs))
        samples = [fold["test"][i] for i in tested.positions]
        labels = [sample.label for sample in samples]
        parts.append((task, tested._replace(target=data.task.encode(labels))))  # equal labels stay equal in all folds
        table = answers_table(task, samples, tested.rows)
        table.insert(1, "fold", number)
        tables.append(table)
    measured = {"samples": [len(fold["test"]) for fold in splits], **spread(found), "pooled": data.task.pooled(parts)}
    return Details({"folds": measured}, {"folds": pd.concat(tables)})


def _samples(data: Data) -> list[Sample]:
    """Return all samples, in an order that does not depend on their splits."""
    return sorted((sample for those in data.splits.values() for sample in those), key=lambda sample: sample.name)
