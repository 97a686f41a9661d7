"""The metrics of several labels: averages over the labels that occur, numbers of each label, bootstrap intervals."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ft_lightning.tasks.intervals import percentiles, resamples, row_means, wilson_interval
from ft_lightning.tasks.measure import rank_auroc, refuse_non_finite, value_of, with_own_metrics
from ft_lightning.tasks.multilabel import METRICS, MultiLabel
from ft_lightning.tasks.task import Outputs

_RESAMPLES = 50  # of which a threshold is the median; more hardly move it


def epoch_metrics(task: MultiLabel, logits: Tensor, targets: Tensor) -> dict[str, float]:
    """Compute an epoch's metrics of logits (N, L) and targets (N, L) of 0 and 1.

    `average_precision` and `f1_macro` are means over the labels that occur in the targets; f1_macro also over those in
    the answers. `loss` is the mean binary cross-entropy of all decisions, in nats.
    """
    answers = task.answers(logits.double().sigmoid())
    return {metric.name: value for metric, value in _values(logits, targets, answers).items() if metric.each_epoch}


def full_metrics(task: MultiLabel, logits: Tensor, targets: Tensor, answers: Tensor | None = None) -> dict[str, Any]:
    """Compute all metrics of one split for metrics.json, as plain JSON values.

    The interval of exact_match is Wilson's, the others are percentile bootstraps over samples. An average precision is
    beside that of chance, which is the share of samples that have the label; exact match beside that of always
    answering the commonest labels of train. Values that are not finite are null.

    Args:
        answers: the labels that each sample has (N, L), if not by the task's thresholds.
    """
    probabilities = logits.double().sigmoid()
    given = task.answers(probabilities) if answers is None else answers
    values, answered, truth = _values(logits, targets, given), given.numpy(), targets.numpy() > 0
    shares = truth.mean(0)
    commonest = task.encode([task.commonest]).numpy() > 0
    auroc = [rank_auroc(probabilities[:, i].numpy(), truth[:, i]) for i in range(task.width)]
    measured = {
        "auroc": mean_of_present(np.array([math.nan if one is None else one for one in auroc])),
        **{metric.name: value for metric, value in values.items()},
    }
    right = int((answered == truth).all(1).sum())
    return {
        **{name: value if math.isfinite(value) else None for name, value in measured.items()},
        **_intervals(probabilities.numpy(), truth, answered),
        "exact_match_ci95": wilson_interval(right, len(truth)),
        "n": len(truth),
        "chance_average_precision": float(shares[shares > 0].mean()) if shares.any() else None,
        "commonest_exact_match": float((truth == commonest).all(1).mean()),
        "per_label": _per_label(task, probabilities.numpy(), truth, answered, auroc),
    }


def pooled_metrics(task: MultiLabel, parts: Sequence[tuple[MultiLabel, Outputs]]) -> dict[str, Any]:
    """Compute all metrics of several models' outputs together; the threshold of a label is the mean of theirs.

    Args:
        parts: of each model its task, calibrated, and its outputs.
    """
    logits = [outputs.rows.double() / own.temperature for own, outputs in parts]
    together = torch.cat(logits)
    answers = [own.answers(each.sigmoid()) for (own, _), each in zip(parts, logits, strict=True)]
    means = np.mean([own.thresholds for own, _ in parts], axis=0).tolist()
    targets = torch.cat([outputs.target for _, outputs in parts])
    mean = replace(task, thresholds=means, temperature=1.0)
    measured = full_metrics(mean, together, targets, torch.cat(answers))
    return with_own_metrics(measured, mean, MultiLabel, together, targets)


def average_precisions(scores: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Return the average precision (L,) of each label by scores (N, L), as scikit-learn defines it; NaN for a label
    that no sample has.
    """
    weights = np.ones((1, len(scores)))
    return np.array([_precision(scores[:, i], targets[:, i] > 0, weights)[0] for i in range(scores.shape[1])])


def mean_of_present(values: np.ndarray) -> float:
    """Return the mean of the numbers among values; NaN without any."""
    present = values[~np.isnan(values)]
    return float(present.mean()) if len(present) else math.nan


def best_thresholds(probabilities: Tensor, targets: Tensor) -> list[float]:
    """Return for each label the threshold with the highest F1 on these samples (N, L).

    It is the median over bootstrap resamples (bagging; Breiman, 1996), as the best one of a few hundred samples depends
    on a few of them. Within the gap between two samples it is 0.5 if that lies there, else the middle. A label
    that no sample has keeps 0.5.
    """
    weights = next(iter(resamples(len(targets))))[:_RESAMPLES]
    return [
        _threshold(scores, truth, weights) if truth.any() else 0.5
        for scores, truth in zip(probabilities.double().T.numpy(), targets.T.numpy() > 0, strict=True)
    ]


def _threshold(scores: np.ndarray, truth: np.ndarray, weights: np.ndarray) -> float:
    answered, right, steps = _counts_from_the_top(scores, truth, weights)
    f1 = 2 * right / np.maximum(answered + right[:, -1:], 1)
    below = np.append(steps[1:], 0.0)
    gaps = np.where((below < 0.5) & (steps >= 0.5), 0.5, (steps + below) / 2)
    best = np.where(f1 == f1.max(1, keepdims=True), np.abs(gaps - 0.5), np.inf).argmin(1)
    return float(np.median(gaps[best]))


def _values(logits: Tensor, targets: Tensor, answers: Tensor) -> dict[Any, float]:
    refuse_non_finite(logits)
    logits, truth = logits.double(), targets.numpy() > 0
    probabilities = logits.sigmoid()
    by_label = {
        "average_precision": mean_of_present(average_precisions(logits.numpy(), truth)),
        "f1_macro": mean_of_present(_f1(truth[None], answers.numpy()[None])[0]),
        "loss": F.binary_cross_entropy_with_logits(logits, targets.double()).item(),
    }
    given = (probabilities, targets, answers)
    return {
        metric: value_of(metric, *given) if metric.of else by_label[metric.name]
        for metric in METRICS
        if metric.of or metric.name in by_label
    }


def _f1(truth: np.ndarray, answers: np.ndarray) -> np.ndarray:
    """Return F1 (R, L) of labels in R x N x L decisions; NaN for a label that is neither true nor answered."""
    right, either = (truth & answers).sum(1), truth.sum(1) + answers.sum(1)
    return np.divide(2 * right, either, out=np.full(right.shape, math.nan), where=either > 0)


def _precision(scores: np.ndarray, truth: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the average precision (R,) of one label by scores (N,), for each row of weights (R, N)."""
    answered, right, _ = _counts_from_the_top(scores, truth, weights)
    gained = np.diff(right, axis=1, prepend=0)
    total = (gained * right / np.maximum(answered, 1)).sum(1)
    return np.divide(total, right[:, -1], out=np.full(len(total), math.nan), where=right[:, -1] > 0)


def _counts_from_the_top(
    scores: np.ndarray, truth: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return for each different score, from high to low, how many samples have it or a higher one (R, S), how many of
    them have the label (R, S), and the score (S,).
    """
    order = np.argsort(-scores, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)  # the last of equal scores
    answered = weights[:, order].cumsum(1)[:, ends]
    right = (weights[:, order] * truth[order]).cumsum(1)[:, ends]
    return answered, right, scores[order][ends]


def _intervals(probabilities: np.ndarray, truth: np.ndarray, answers: np.ndarray) -> dict[str, list[float]]:
    """Return the bootstrap intervals of average_precision, f1_macro and f1_micro; of those that have a value."""
    drawn: dict[str, list[np.ndarray]] = {"average_precision": [], "f1_macro": [], "f1_micro": []}
    for weights in resamples(*truth.shape):
        right, either = weights @ (truth & answers), weights @ (truth.astype(int) + answers)  # (R, L)
        f1 = np.divide(2 * right, either, out=np.full(right.shape, math.nan), where=either > 0)
        drawn["average_precision"].append(resampled_precision(probabilities, truth, weights))
        drawn["f1_macro"].append(row_means(f1))
        drawn["f1_micro"].append(2 * right.sum(1) / np.maximum(1, either.sum(1)))
    bounds = {f"{name}_ci95": percentiles(np.concatenate(parts)) for name, parts in drawn.items()}
    return {name: found for name, found in bounds.items() if found}


def resampled_precision(scores: np.ndarray, truth: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the mean average precision (R,) of the labels that occur, by scores (N, L) and truth (N, L), in resamples
    that hold each sample so often: weights (R, N).
    """
    each = [_precision(scores[:, i], truth[:, i], weights) for i in range(truth.shape[1])]
    return row_means(np.stack(each, 1))


def _per_label(
    task: MultiLabel, probabilities: np.ndarray, truth: np.ndarray, answers: np.ndarray, auroc: list[float | None]
) -> dict[str, dict[str, Any]]:
    precisions = average_precisions(probabilities, truth)
    right, answered, support = (truth & answers).sum(0), answers.sum(0), truth.sum(0)
    return {
        name: {
            "precision": float(right[i] / max(1, answered[i])),
            "recall": float(right[i] / max(1, support[i])),
            "f1": float(2 * right[i] / max(1, answered[i] + support[i])),
            "average_precision": float(precisions[i]) if support[i] else None,
            "auroc": auroc[i],
            "threshold": task.thresholds[i] if task.thresholds else 0.5,
            "n": int(support[i]),
        }
        for i, name in enumerate(task.label_names)
    }
