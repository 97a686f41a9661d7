"""Probabilities that mean what they say: temperature scaling, and how far confidence and accuracy are apart."""

import math

import pandas as pd
import torch
import torch.nn.functional as F
from scipy.optimize import minimize_scalar
from torch import Tensor

BINS = 15  # of equal width, as `ece` in metrics.json has them
_PRIOR_SD = 0.1  # of log T; wider, as without a prior, 360 samples of val made the calibration of others worse
_LARGEST = 3.0  # of |log T|


def fit_temperature(logits: Tensor, targets: Tensor) -> float:
    """The temperature T for which softmax(logits / T) (N, C) is most likely to give the targets (N,) (Guo et al., "On
    Calibration of Modern Neural Networks", ICML 2017), if 1 is what is expected of it beforehand.

    log T has a normal prior around 0, which counts as little as one among the samples: hundreds of samples with a dozen
    errors say little about T, and where all answers are right the likelihood alone would ask for certainty. So the
    likelihood of these samples, which were not trained on, is never lower than with T = 1.
    """
    logits = logits.double()

    def objective(log_temperature: float) -> float:
        loss = F.cross_entropy(logits / math.exp(log_temperature), targets, reduction="sum").item()
        return loss + log_temperature**2 / (2 * _PRIOR_SD**2)

    found = minimize_scalar(objective, bounds=(-_LARGEST, _LARGEST), method="bounded", options={"xatol": 1e-6})
    return math.exp(found.x) if found.fun < objective(0.0) else 1.0


def before_scaling(logits: Tensor, targets: Tensor, temperature: float) -> dict[str, float]:
    """Loss and calibration error that these scaled logits (N, C) would have without the temperature."""
    raw = logits.double() * temperature
    bins = reliability(raw, targets)
    ece = ((bins["confidence"] - bins["accuracy"]).abs() * bins["n"]).sum() / bins["n"].sum()
    return {"loss": F.cross_entropy(raw, targets).item(), "ece": float(ece)}


def reliability(logits: Tensor, targets: Tensor) -> pd.DataFrame:
    """How often answers of a similar probability are right, of logits (N, C): a row a bin that has any.

    The columns are low and high (of the bin), confidence and accuracy (means), n. The mean distance of the two,
    weighted by n, is the expected calibration error.
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
