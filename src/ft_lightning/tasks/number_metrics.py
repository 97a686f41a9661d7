"""The metrics of numbers: means over the targets, numbers of each target, bootstrap intervals, the mean predictor."""

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from statistics import fmean
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor

from ft_lightning.system.errors import number_of
from ft_lightning.tasks import numbers
from ft_lightning.tasks.intervals import percentiles, resamples, row_means, wilson_interval
from ft_lightning.tasks.measure import refuse_non_finite, value_of, with_own_metrics
from ft_lightning.tasks.regression import METRICS, PERCENT, Regression
from ft_lightning.tasks.task import Details, Outputs

log = logging.getLogger(__name__)


def epoch_metrics(task: Regression, rows: Tensor, target: Tensor) -> dict[str, float]:
    """Compute an epoch's metrics of standardised outputs and targets (N, K), in the targets' own units.

    Each is the mean over the targets for which it is defined: a constant one has no r2 and no spearman. `loss` is
    Huber's, in standard deviations.
    """
    refuse_non_finite(rows)
    given = task.original(rows), task.original(target)
    chosen = [metric for metric in METRICS if metric.of and metric.each_epoch]
    measured = {metric.name: _mean([value_of(metric, *each) for each in _by_target(*given)]) for metric in chosen}
    return measured | {"loss": loss(rows, target)}


def full_metrics(task: Regression, rows: Tensor, target: Tensor, half_width: Tensor | None = None) -> dict[str, Any]:
    """Compute all metrics of one split for metrics.json, as plain JSON values; those that are not finite are null.

    The interval of coverage90 is Wilson's, the others are percentile bootstraps over samples. The metrics of a
    predictor that always answers the mean of train are beside them, as mean_mae, mean_rmse and mean_r2.

    Args:
        half_width: of the interval of each sample (N, K), if not the task's.
    """
    refuse_non_finite(rows)
    given = task.original(rows), task.original(target)
    n, names = len(rows), [metric.name for metric in METRICS if metric.of]
    each = [_of_target(*one, task.mean[i]) for i, one in enumerate(_by_target(*given))]
    result: dict[str, Any] = {name: _finite(_mean([one[name] for one in each])) for name in names}
    result |= {"loss": _finite(loss(rows, target)), "n": n}
    result |= {name: _finite(_mean([one[name] for one in each])) for name in each[0] if name.startswith("mean_")}
    drawn = _resampled(*given)  # (R, K) for each metric
    result |= {f"{name}_ci95": percentiles(row_means(values)) for name, values in drawn.items()}
    if task.half_width:
        half = given[0].new_tensor(task.half_width) if half_width is None else half_width
        covered = ((given[0] - given[1]).abs() <= half).double().mean(0).tolist()
        result |= {"coverage90": fmean(covered), "coverage90_ci95": wilson_interval(round(fmean(covered) * n), n)}
        each = [one | {"coverage90": share} for one, share in zip(each, covered, strict=True)]
    intervals = [
        {f"{name}_ci95": percentiles(values[:, i]) for name, values in drawn.items()} for i in range(task.width)
    ]
    finite = [{key: _finite(value) for key, value in one.items()} for one in each]
    per_target = [{**one, **bounds} for one, bounds in zip(finite, intervals, strict=True)]
    return result | {"per_target": dict(zip(task.targets, per_target, strict=True))}


def loss(rows: Tensor, target: Tensor) -> float:
    """Return the mean Huber loss of standardised outputs and targets, which decides between equal values."""
    return F.huber_loss(rows.double(), target.double()).item()


def pooled_metrics(task: Regression, parts: Sequence[tuple[Regression, Outputs]]) -> dict[str, Any]:
    """Compute all metrics of several models' outputs together, each with its own intervals.

    Args:
        parts: of each model its task, calibrated, and its outputs; targets are standardised by `task`.
    """
    rows = torch.cat([task.standardised(own.original(outputs.rows)) for own, outputs in parts])
    target = torch.cat([outputs.target for _, outputs in parts])
    widths = [rows.new_tensor([own.half_width] * len(outputs.rows)) for own, outputs in parts]
    means = np.mean([own.half_width for own, _ in parts], axis=0).tolist()
    mean = replace(task, half_width=means)
    measured = full_metrics(mean, rows, target, torch.cat(widths))
    return with_own_metrics(measured, mean, Regression, rows, target)


def interval_details(task: Regression, outputs: Mapping[str, Outputs]) -> Details:
    """Return the half widths of the intervals and, of val and test, the coverage of other shares on test."""
    about: dict[str, Any] = {"percent": PERCENT, "half_width": dict(zip(task.targets, task.half_width, strict=True))}
    if "val" not in outputs:
        return Details({"interval": about}, {})
    val, test = (
        (task.original(each.rows) - task.original(each.target)).numpy() for each in (outputs["val"], outputs["test"])
    )
    n, rows = len(val), []
    if not numbers.enough(n, PERCENT):
        log.warning(
            "val has %s: the %d %% intervals are as wide as its largest error.", number_of(n, "sample"), PERCENT
        )
    for percent in numbers.LEVELS:
        half = numbers.half_widths(val, percent)
        covered = (np.abs(test) <= half).mean(0)
        if numbers.enough(n, percent):
            rows += [(name, percent, *both) for name, *both in zip(task.targets, half, covered, strict=True)]
    table = pd.DataFrame(rows, columns=["target", "percent", "half_width", "coverage"])
    return Details({"interval": about | {"val": n}}, {"coverage": table})


def _by_target(predicted: Tensor, true: Tensor) -> list[tuple[Tensor, Tensor]]:
    return list(zip(predicted.T, true.T, strict=True))


def _of_target(predicted: Tensor, true: Tensor, mean: float) -> dict[str, float]:
    constant = torch.full_like(true, mean)
    measured: dict[str, float] = {metric.name: value_of(metric, predicted, true) for metric in METRICS if metric.of}
    beside = [metric for metric in METRICS if metric.name in ("mae", "rmse", "r2")]
    return measured | {f"mean_{metric.name}": value_of(metric, constant, true) for metric in beside}


def _resampled(predicted: Tensor, true: Tensor) -> dict[str, np.ndarray]:
    """Return mae, rmse, r2 and spearman (R, K) of bootstrap resamples."""
    p, t = predicted.numpy(), true.numpy()
    n, targets = p.shape
    centred = t - t.mean(0)
    drawn: dict[str, list[np.ndarray]] = {"mae": [], "rmse": [], "r2": [], "spearman": []}
    for weights in resamples(n, targets):
        squared = weights @ (p - t) ** 2 / n  # (R, K)
        spread = weights @ centred**2 / n - (weights @ centred / n) ** 2
        constant = spread <= 1e-12 * (centred**2).max(0)
        drawn["mae"].append(weights @ np.abs(p - t) / n)
        drawn["rmse"].append(np.sqrt(squared))
        drawn["r2"].append(np.where(constant, math.nan, 1 - squared / np.where(constant, 1, spread)))
        drawn["spearman"].append(np.stack([_spearman(p[:, i], t[:, i], weights) for i in range(targets)], 1))
    return {name: np.concatenate(parts) for name, parts in drawn.items()}


def _spearman(one: np.ndarray, other: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the rank correlation (R,) of two columns (N,), each sample counted as often as a row of weights says."""
    ranked, values = [_ranking(one), _ranking(other)], np.full(len(weights), math.nan)
    for row, counts in enumerate(weights):
        a, b = (ranks(counts) for ranks in ranked)
        spread = math.sqrt((counts * a * a).sum() * (counts * b * b).sum())
        values[row] = (counts * a * b).sum() / spread if spread else math.nan
    return values


def _ranking(column: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Return a function of how often each sample counts (N,) -> its rank (N,), from the middle; equal ones share it."""
    _, place = np.unique(column, return_inverse=True)

    def ranks(counts: np.ndarray) -> np.ndarray:
        sizes = np.bincount(place, counts)
        return (sizes.cumsum() - (sizes + counts.sum()) / 2)[place]

    return ranks


def _mean(values: list[float]) -> float:
    return fmean([value for value in values if math.isfinite(value)] or [math.nan])


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
