"""Probabilities that mean what they say: temperature scaling, and how far confidence and accuracy are apart."""

import math
from collections.abc import Mapping

import pandas as pd
import torch
import torch.nn.functional as F
from scipy.optimize import minimize_scalar
from torch import Tensor

BINS = 15  # of equal width, as `ece` in metrics.json has them
_LOWEST, _HIGHEST = 0.05, 20.0

Outputs = Mapping[str, tuple[Tensor, ...]]


def fit_temperature(logits: Tensor, targets: Tensor) -> float:
    """The temperature T for which softmax(logits / T) is most likely to give the targets (Guo et al., "On Calibration
    of Modern Neural Networks", ICML 2017).

    One imagined sample whose class nobody knows is counted too, as targets are smoothed in Platt scaling (Platt, 1999):
    where all answers are right the likelihood alone would ask for certainty. 1 where nothing is gained.

    Args:
        logits: (N, C) of samples that were not trained on.
        targets: (N,).
    """
    logits, n = logits.double(), len(targets)

    def objective(log_temperature: float) -> float:
        scaled = F.log_softmax(logits / math.exp(log_temperature), dim=1)
        return F.nll_loss(scaled, targets).item() - scaled.mean().item() / n

    found = minimize_scalar(objective, bounds=(math.log(_LOWEST), math.log(_HIGHEST)), method="bounded")
    temperature = math.exp(found.x)
    gained = F.cross_entropy(logits / temperature, targets) < F.cross_entropy(logits, targets)
    return temperature if gained else 1.0


def calibrated(outputs: Outputs) -> tuple[dict[str, tuple[Tensor, Tensor, Tensor]], float]:
    """Outputs of val and test, as `FineTuner.outputs`, with logits divided by the temperature fitted on val, and it."""
    _, logits, targets = outputs["val"]
    temperature = fit_temperature(logits, targets)
    scaled = {split: (index, logits / temperature, targets) for split, (index, logits, targets) in outputs.items()}
    return scaled, temperature


def before_scaling(outputs: Outputs, temperature: float) -> dict[str, dict[str, float]]:
    """Loss and calibration error that each split would have without the temperature."""
    found = {}
    for split, (_, logits, targets) in outputs.items():
        raw = logits.double() * temperature
        bins = reliability(raw, targets)
        ece = ((bins["confidence"] - bins["accuracy"]).abs() * bins["n"]).sum() / bins["n"].sum()
        found[split] = {"loss": F.cross_entropy(raw, targets).item(), "ece": float(ece)}
    return found


def reliability(logits: Tensor, targets: Tensor) -> pd.DataFrame:
    """How often answers of a similar probability are right: a row a bin that has any.

    Args:
        logits: (N, C).
        targets: (N,).

    Returns:
        low, high (of the bin), confidence and accuracy (means), n. The mean distance of the two weighted by n is the
        expected calibration error.
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
