"""`repeats=5`: the head trained again from other initialisations and in other orders, on the same stored features."""

import statistics
from typing import Any

from omegaconf import DictConfig
from scipy import stats

from ft_lightning.build import Pretrained, stop_averaging
from ft_lightning.callbacks.stored_features import StoredFeatures
from ft_lightning.data.module import ImageFolderDataModule
from ft_lightning.search.workbench import Workbench
from ft_lightning.tasks.calibration import calibrated
from ft_lightning.tasks.metrics import epoch_metrics

SPLITS = ("val", "test")


def repeat(
    cfg: DictConfig,
    data: ImageFolderDataModule,
    pretrained: Pretrained,
    stored: StoredFeatures,
    outputs: dict[str, tuple[Any, ...]],
) -> dict[str, Any]:
    """What differs between trainings that differ in their seed alone, which are `seed`, `seed + 1`, ...

    Args:
        outputs: of the first of them, as `FineTuner.outputs`.

    Returns:
        seeds, and for val and test of accuracy, f1_macro and loss: values, mean, sd (of one training) and ci95, the
        95 % interval of the mean by Student's t. How much other samples would change the result is not in them.
    """
    seeds = [cfg.seed + number for number in range(cfg.repeats)]
    found = [outputs]
    bench = Workbench(list(data.splits), data, pretrained, stored.kept)
    for seed in seeds[1:]:
        again = cfg.copy()
        again.seed = seed
        training = bench.train(again, report=lambda epoch, value: None, weights=True)
        stop_averaging(training.trainer)
        training.best.restore(training.module)
        training.trainer.validate(training.module, datamodule=data, verbose=False)
        training.trainer.test(training.module, datamodule=data, verbose=False)
        found.append(training.module.outputs)
    return {"seeds": seeds} | {
        split: _spread([epoch_metrics(*calibrated(each)[0][split][1:]) for each in found]) for split in SPLITS
    }


def _spread(trainings: list[dict[str, float]]) -> dict[str, dict[str, Any]]:
    return {name: _statistics([training[name] for training in trainings]) for name in trainings[0]}


def _statistics(values: list[float]) -> dict[str, Any]:
    mean, sd = statistics.fmean(values), statistics.stdev(values)
    half = float(stats.t.ppf(0.975, len(values) - 1)) * sd / len(values) ** 0.5
    return {"values": values, "mean": mean, "sd": sd, "ci95": [mean - half, mean + half]}
