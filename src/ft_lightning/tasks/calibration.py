"""Calibration: temperature scaling, and the distance between confidence and accuracy."""

import math
from collections.abc import Callable, Mapping

import pandas as pd
import torch
import torch.nn.functional as F
from scipy.optimize import minimize_scalar
from torch import Tensor

BINS = 15  # of equal width, as for `ece` in metrics.json
_PRIOR_SD = 0.1  # of log T; with a wider or no prior, 360 samples of val made calibration on others worse
_LARGEST = 3.0  # of |log T|


def fit_temperature(logits: Tensor, targets: Tensor) -> float:
    """Fit T so that softmax(logits / T) (N, C) has the highest posterior for the targets (N,) (Guo et al., "On
    Calibration of Modern Neural Networks", ICML 2017).

    log T has a normal prior around 0, with the weight of a single sample: hundreds of samples with a dozen errors say
    little about T, and if all answers are right, the likelihood alone would demand certainty. The likelihood of these
    samples, which were not trained on, is never lower than with T = 1.
    """
    return _fitted(lambda scaled: F.cross_entropy(scaled, targets, reduction="sum"), logits)


def fit_temperature_of_labels(logits: Tensor, targets: Tensor) -> float:
    """Fit T as `fit_temperature` does, for sigmoid(logits / T) (N, L) and targets (N, L) of 0 and 1."""
    targets = targets.double()
    return _fitted(lambda scaled: F.binary_cross_entropy_with_logits(scaled, targets, reduction="sum"), logits)


def _fitted(loss_of: Callable[[Tensor], Tensor], logits: Tensor) -> float:
    logits = logits.double()

    def objective(log_temperature: float) -> float:
        loss = loss_of(logits / math.exp(log_temperature)).item()
        return loss + log_temperature**2 / (2 * _PRIOR_SD**2)

    found = minimize_scalar(objective, bounds=(-_LARGEST, _LARGEST), method="bounded", options={"xatol": 1e-6})
    return math.exp(found.x) if found.fun < objective(0.0) else 1.0


def before_and_after(
    scaled: Mapping[str, tuple[Tensor, Tensor]], temperature: float
) -> tuple[dict[str, dict[str, float]], pd.DataFrame]:
    """Return `before_scaling` of each split, and the bins of `reliability` of all, before and after.

    Args:
        scaled: by split: logits (N, C) divided by the temperature, and targets (N,).
    """
    before = {split: before_scaling(logits, target, temperature) for split, (logits, target) in scaled.items()}
    bins = [
        reliability(logits * factor, target).assign(split=split, scaling=scaling)
        for split, (logits, target) in scaled.items()
        for scaling, factor in (("before", temperature), ("after", 1.0))
    ]
    return before, pd.concat(bins)


def before_scaling(logits: Tensor, targets: Tensor, temperature: float) -> dict[str, float]:
    """Return the loss and calibration error that scaled logits (N, C) had before temperature scaling."""
    raw = logits.double() * temperature
    bins = reliability(raw, targets)
    ece = ((bins["confidence"] - bins["accuracy"]).abs() * bins["n"]).sum() / bins["n"].sum()
    return {"loss": F.cross_entropy(raw, targets).item(), "ece": float(ece)}


def reliability(logits: Tensor, targets: Tensor) -> pd.DataFrame:
    """Bin the answers of logits (N, C) by probability: one row for each non-empty bin.

    The columns are low and high (of the bin), confidence and accuracy (means), n. The mean distance between confidence
    and accuracy, weighted by n, is the expected calibration error.
    """
    confidence, predicted = logits.double().softmax(1).max(1)
    table = pd.DataFrame({"confidence": confidence.numpy(), "accuracy": (predicted == targets).double().numpy()})
    table["bin"] = torch.bucketize(confidence, torch.linspace(0, 1, BINS + 1).double()[1:-1]).numpy()
    bins = table.groupby("bin").agg(
        confidence=("confidence", "mean"), accuracy=("accuracy", "mean"), n=("accuracy", "size")
    )
    bins.insert(0, "low", bins.index / BINS)
    bins.insert(1, "high", (bins.index + 1) / BINS)
    return bins.reset_index(drop=True)
