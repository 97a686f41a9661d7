"""Heads that are trained beside the delivered one, on its stored features, to measure how much numbers vary."""

from lightning import Trainer
from omegaconf import DictConfig

from ft_lightning.build import Pretrained
from ft_lightning.callbacks.stored_features import RowCache
from ft_lightning.cli.processes import refuse_processes
from ft_lightning.data.protocol import Data
from ft_lightning.runs.write import Stopwatch
from ft_lightning.search.folds import FoldSplits, cross_validate, fold_plan
from ft_lightning.search.repeats import repeat
from ft_lightning.tasks.task import Details, Outputs


def plan(cfg: DictConfig, data: Data, trainer: Trainer) -> FoldSplits:
    """Return the splits of `folds`, none without; raise UserError if `repeats` or `folds` cannot be done."""
    for key in ("repeats", "folds"):
        if cfg[key] > 1:
            refuse_processes(trainer, f"{key}={cfg[key]}")
    return fold_plan(cfg, data) if cfg.folds > 1 else []


def train(
    cfg: DictConfig,
    data: Data,
    planned: FoldSplits,
    pretrained: Pretrained,
    rows: RowCache,
    outputs: dict[str, Outputs],
    clock: Stopwatch,
) -> Details:
    """Train the heads of `repeats` or `folds`, if there are any, and return what they add to the files of a run.

    Args:
        planned: from `plan`.
        rows: existing stored features.
        outputs: of the delivered model, for val and test.
        clock: its lap "repeats_s" or "folds_s" ends when they are trained.
    """
    found = Details({}, {})
    if cfg.repeats > 1:
        found = repeat(cfg, data, pretrained, rows, outputs)
    elif planned:
        found = cross_validate(cfg, data, planned, pretrained, rows)
    for name in found.metrics:
        clock.lap(f"{name}_s")
    return found
