"""The metrics of one split in metrics.json: the listed metrics, AUROC, per-class numbers, the majority baseline."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics.functional.classification import multiclass_confusion_matrix

from ft_lightning.tasks.intervals import macro_f1_interval, wilson_interval
from ft_lightning.tasks.measure import rank_auroc, refuse_non_finite, value_of
from ft_lightning.tasks.metric import Metric
from ft_lightning.tasks.multiclass import METRICS, MultiClass
from ft_lightning.tasks.task import Outputs


def epoch_metrics(logits: Tensor, targets: Tensor) -> dict[str, float]:
    """Compute an epoch's metrics of logits (N, C), targets (N,); loss is the mean negative log-likelihood in nats."""
    refuse_non_finite(logits)
    chosen = [metric for metric in METRICS if metric.each_epoch]
    return _measured(chosen, logits.double(), targets)


def full_metrics(logits: Tensor, targets: Tensor, class_names: list[str], class_counts: list[int]) -> dict[str, Any]:
    """Compute all metrics of one split for metrics.json, as plain JSON values; `confusion` omits zeros.

    Macro averages run over the classes that occur in the targets or the predictions, as in scikit-learn, and auroc over
    the classes that have both positive and negative targets. Values that are not finite are null. The interval of
    accuracy is Wilson's, that of f1_macro a percentile bootstrap over samples.

    Args:
        logits: (N, C).
        targets: (N,).
        class_counts: samples of each class in train, which decide the majority baseline's answer.
    """
    refuse_non_finite(logits)
    logits, n = logits.double(), len(targets)
    probabilities = logits.softmax(1)
    values = _measured(METRICS, logits, targets)
    numbers = {name: value if math.isfinite(value) else None for name, value in values.items()}
    confusion = multiclass_confusion_matrix(probabilities, targets, len(class_names))
    answers = {
        true: {name: n for name, n in zip(class_names, row, strict=True) if n}
        for true, row in zip(class_names, confusion.tolist(), strict=True)
    }
    auroc = [rank_auroc(scores, targets.numpy() == label) for label, scores in enumerate(probabilities.T.numpy())]
    present = [value for value in auroc if value is not None]
    return numbers | {
        "accuracy_ci95": wilson_interval(int(confusion.diagonal().sum()), n),
        "f1_macro_ci95": macro_f1_interval(confusion.numpy()),
        "auroc": sum(present) / len(present) if present else None,
        "n": n,
        "majority_accuracy": (targets == int(np.argmax(class_counts))).double().mean().item(),
        "per_class": _per_class(confusion, auroc, class_names),
        "confusion": {true: row for true, row in answers.items() if row},
    }


def pooled_metrics(task: MultiClass, parts: Sequence[tuple[MultiClass, Outputs]]) -> dict[str, Any]:
    """Compute all metrics of several models' outputs together.

    Args:
        parts: of each model its task, calibrated, and its outputs.
    """
    logits = torch.cat([outputs.rows / own.temperature for own, outputs in parts])
    targets = torch.cat([outputs.target for _, outputs in parts])
    return replace(task, temperature=1.0).metrics(logits, targets, full=True)  # a subclass may have more of them


def _measured(metrics: Sequence[Metric], logits: Tensor, targets: Tensor) -> dict[str, float]:
    probabilities = logits.softmax(1)
    values = {metric.name: value_of(metric, probabilities, targets) for metric in metrics if metric.of}
    return values | {"loss": F.cross_entropy(logits, targets).item()}  # from logits, because a probability may be 0


def _per_class(confusion: Tensor, auroc: list[float | None], class_names: list[str]) -> dict[str, dict[str, Any]]:
    correct, support, answered = confusion.diagonal().double(), confusion.sum(1), confusion.sum(0)
    precision, recall = correct / answered.clamp(min=1), correct / support.clamp(min=1)
    f1 = 2 * correct / (support + answered).clamp(min=1)
    columns = (precision.tolist(), recall.tolist(), f1.tolist(), auroc, support.tolist())
    keys = ("precision", "recall", "f1", "auroc", "n")
    return {name: dict(zip(keys, row, strict=True)) for name, *row in zip(class_names, *columns, strict=True)}
