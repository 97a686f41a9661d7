"""`repeats=5`: trains the head again with other seeds on the same stored features."""

import statistics
from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig
from scipy import stats

from ft_lightning.build import Pretrained
from ft_lightning.callbacks.checkpoints import stop_averaging
from ft_lightning.callbacks.stored_features import RowCache
from ft_lightning.data.protocol import Data
from ft_lightning.search.workbench import Workbench
from ft_lightning.tasks.task import Outputs, Task

SPLITS = ("val", "test")


def repeat(
    cfg: DictConfig,
    data: Data,
    pretrained: Pretrained,
    rows: RowCache,
    outputs: dict[str, Outputs],
) -> dict[str, Any]:
    """Train again with the seeds `seed + 1`, `seed + 2`, ... and measure how the metrics vary.

    Args:
        rows: existing stored features.
        outputs: of val and test of the first training, with `seed`.

    Returns:
        seeds, and for val and test for each metric of an epoch: values, mean, sd (of one training) and ci95, the 95 %
        interval of the mean by Student's t. They do not include the variation due to other samples.
    """
    seeds = [cfg.seed + number for number in range(cfg.repeats)]
    found = [outputs]
    bench = Workbench(list(data.splits), data, pretrained, rows)
    for seed in seeds[1:]:
        again = cfg.copy()
        again.seed = seed
        training = bench.train(again, report=lambda epoch, value: None, weights=True)
        stop_averaging(training.trainer)
        training.best.restore(training.module)
        training.trainer.validate(training.module, datamodule=data, verbose=False)  # type: ignore[arg-type]
        training.trainer.test(training.module, datamodule=data, verbose=False)  # type: ignore[arg-type]
        found.append(training.module.outputs)
    return {"seeds": seeds} | {
        split: _spread([_calibrated_metrics(data.task, each, split) for each in found]) for split in SPLITS
    }


def _calibrated_metrics(task: Task, outputs: Mapping[str, Outputs], split: str) -> dict[str, float]:
    fitted = task.calibrate(outputs["val"].rows, outputs["val"].target)
    return fitted.metrics(outputs[split].rows, outputs[split].target, full=False)


def _spread(trainings: list[dict[str, float]]) -> dict[str, dict[str, Any]]:
    return {name: _statistics([training[name] for training in trainings]) for name in trainings[0]}


def _statistics(values: list[float]) -> dict[str, Any]:
    mean, sd = statistics.fmean(values), statistics.stdev(values)
    half = float(stats.t.ppf(0.975, len(values) - 1)) * sd / len(values) ** 0.5
    return {"values": values, "mean": mean, "sd": sd, "ci95": [mean - half, mean + half]}
