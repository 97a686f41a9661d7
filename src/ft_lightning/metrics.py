"""Numbers with intervals: torchmetrics collections, Wilson's and bootstrap intervals, baselines."""

import math
import warnings
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics import MetricCollection
from torchmetrics.classification import (
    MulticlassAccuracy,
    MulticlassAUROC,
    MulticlassCalibrationError,
    MulticlassConfusionMatrix,
    MulticlassF1Score,
    MulticlassPrecision,
    MulticlassRecall,
)

from ft_lightning.errors import NumericalError

_Z95 = 1.959963984540054  # 97.5 % quantile of the normal distribution
_RESAMPLES = 1000
_CELLS_AT_ONCE = 20_000_000  # bounds the bootstrap's memory to a few hundred MB


def metric_collection(num_classes: int) -> MetricCollection:
    """Every number of metrics.json that is one torchmetrics metric of (probabilities (N, C), targets (N,)).

    A metric added here appears in metrics.json for val and test.
    """
    return MetricCollection(
        {
            "accuracy": MulticlassAccuracy(num_classes, average="micro"),
            "top5_accuracy": MulticlassAccuracy(num_classes, top_k=min(5, num_classes), average="micro"),
            "f1_macro": MulticlassF1Score(num_classes, average="macro"),
            "precision_macro": MulticlassPrecision(num_classes, average="macro"),
            "recall_macro": MulticlassRecall(num_classes, average="macro"),
            "ece": MulticlassCalibrationError(num_classes, n_bins=15, norm="l1"),
        },
        compute_groups=False,  # groups are found by comparing values, which a small first batch can make equal
    )


def epoch_metrics(logits: Tensor, targets: Tensor) -> dict[str, float]:
    """What is looked at after every epoch: accuracy, f1_macro, and loss, the mean negative log-likelihood in nats.

    Args:
        logits: (N, C).
        targets: (N,).
    """
    predicted = logits.argmax(1)
    f1 = MulticlassF1Score(logits.shape[1], average="macro").to(logits.device)
    return {
        "accuracy": (predicted == targets).double().mean().item(),
        "f1_macro": f1(predicted, targets).item(),
        "loss": F.cross_entropy(logits.double(), targets).item(),
    }


def full_metrics(logits: Tensor, targets: Tensor, class_names: list[str], class_counts: list[int]) -> dict[str, Any]:
    """Everything metrics.json says about one split, as plain JSON values.

    Macro averages run over the classes that occur in the targets or the predictions, as scikit-learn's do. The interval
    of accuracy is Wilson's, that of f1_macro a percentile bootstrap over samples.

    Args:
        logits: (N, C).
        targets: (N,).
        class_counts: samples of each class in train, which decide what the majority baseline answers.

    Raises:
        NumericalError: a logit is not finite.
    """
    if not torch.isfinite(logits).all():
        raise NumericalError("The model's outputs are not finite: use a lower optimizer.lr, or precision=32-true.")
    logits, n = logits.double(), len(targets)
    probabilities = logits.softmax(1)
    metrics = metric_collection(len(class_names))
    metrics.update(probabilities, targets)
    numbers = {name: float(value) for name, value in metrics.compute().items()}
    confusion = MulticlassConfusionMatrix(len(class_names))(probabilities, targets)
    auroc = _auroc_by_class(probabilities, targets)
    present = [value for value in auroc if value is not None]
    return numbers | {
        "accuracy_ci95": wilson_interval(int(confusion.diagonal().sum()), n),
        "f1_macro_ci95": _bootstrap_f1(confusion.numpy()),
        "auroc": sum(present) / len(present) if present else None,
        "loss": F.cross_entropy(logits, targets).item(),
        "n": n,
        "majority_accuracy": (targets == int(np.argmax(class_counts))).double().mean().item(),
        "per_class": _per_class(confusion, auroc, class_names),
        "confusion": _sparse(confusion, class_names),
    }


def wilson_interval(successes: int, n: int) -> list[float]:
    """Wilson's 95 % score interval of a proportion (Wilson 1927), which has a width at 0 % and 100 % too."""
    p, z2 = successes / n, _Z95**2
    centre = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = _Z95 * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    return [max(0.0, centre - half), min(1.0, centre + half)]


def _bootstrap_f1(confusion: np.ndarray) -> list[float]:
    """Percentile bootstrap of macro F1 over samples: drawing samples is drawing confusion cells multinomially."""
    true, predicted = np.nonzero(confusion)
    counts = confusion[true, predicted]
    n, classes = counts.sum(), confusion.shape[0]
    hits = true == predicted
    rng = np.random.default_rng(0)
    scores = []
    step = max(1, _CELLS_AT_ONCE // max(len(counts), classes))
    for start in range(0, _RESAMPLES, step):
        draws = rng.multinomial(n, counts / n, size=min(step, _RESAMPLES - start))  # (R, cells)
        correct, support, answered = (np.zeros((len(draws), classes)) for _ in range(3))
        np.add.at(correct.T, true[hits], draws.T[hits])
        np.add.at(support.T, true, draws.T)
        np.add.at(answered.T, predicted, draws.T)
        occurs = (support + answered) > 0
        f1 = np.divide(2 * correct, support + answered, out=np.zeros_like(correct), where=occurs)
        scores.append(f1.sum(1) / occurs.sum(1))
    low, high = np.percentile(np.concatenate(scores), [2.5, 97.5])
    return [float(low), float(high)]


def _auroc_by_class(probabilities: Tensor, targets: Tensor) -> list[float | None]:
    """One-vs-rest AUROC; None for a class without positives or negatives, which torchmetrics would score 0."""
    classes, n = probabilities.shape[1], len(targets)
    counts = targets.bincount(minlength=classes)
    scores = MulticlassAUROC(classes, average="none")
    scores.update(probabilities, targets)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="No (positive|negative) samples in targets")
        values = scores.compute().tolist()
    return [value if 0 < count < n else None for value, count in zip(values, counts.tolist(), strict=True)]


def _per_class(confusion: Tensor, auroc: list[float | None], class_names: list[str]) -> dict[str, dict[str, Any]]:
    correct, support, answered = confusion.diagonal().double(), confusion.sum(1), confusion.sum(0)
    precision, recall = correct / answered.clamp(min=1), correct / support.clamp(min=1)
    f1 = 2 * correct / (support + answered).clamp(min=1)
    return {
        name: {
            "precision": float(precision[i]),
            "recall": float(recall[i]),
            "f1": float(f1[i]),
            "auroc": auroc[i],
            "n": int(support[i]),
        }
        for i, name in enumerate(class_names)
    }


def _sparse(confusion: Tensor, class_names: list[str]) -> dict[str, dict[str, int]]:
    """{true class: {predicted class: samples}}, without the zeros."""
    rows: dict[str, dict[str, int]] = {}
    for true, predicted in confusion.nonzero().tolist():
        rows.setdefault(class_names[true], {})[class_names[predicted]] = int(confusion[true, predicted])
    return rows
