"""`repeats=5`: trains the head again with other seeds on the same stored features."""

from typing import Any

from omegaconf import DictConfig
from scipy import stats

from ft_lightning.build import Pretrained
from ft_lightning.callbacks.stored_features import RowCache
from ft_lightning.data.protocol import Data
from ft_lightning.search.spread import SPLITS, calibrated, spread
from ft_lightning.search.workbench import Workbench
from ft_lightning.system.console import counting
from ft_lightning.tasks.task import Details, Outputs


def repeat(cfg: DictConfig, data: Data, pretrained: Pretrained, rows: RowCache, outputs: dict[str, Outputs]) -> Details:
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
    for seed in counting("Repeats", seeds[1:], cfg.trainer.enable_progress_bar):
        again = cfg.copy()
        again.seed = seed
        found.append(bench.outputs(again))
    measured: dict[str, Any] = spread([(calibrated(data.task, each), each) for each in found])
    for metric in (metric for split in SPLITS for metric in measured[split].values()):
        metric["ci95"] = _interval(metric["mean"], metric["sd"], sum(value is not None for value in metric["values"]))
    return Details({"repeats": {"seeds": seeds} | measured}, {})


def _interval(mean: float | None, sd: float | None, n: int) -> list[float] | None:
    if mean is None or sd is None:
        return None
    half = float(stats.t.ppf(0.975, n - 1)) * sd / n**0.5
    return [mean - half, mean + half]
