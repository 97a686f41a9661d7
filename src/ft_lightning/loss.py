"""Loss functions: (outputs (B, C), targets) -> scalar. What a task knows of its labels comes as arguments."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from ft_lightning.system.errors import UserError


class SampleWeighted(nn.Module):
    """The mean of a loss over a batch; a sample with the weight 2 counts like two of it.

    Args:
        make: reduction, "mean" or "none" -> the loss, of which "none" gives (B,) or (B, L).
    """

    def __init__(self, make: Callable[[str], nn.Module]) -> None:
        super().__init__()
        self.mean = make("mean")
        self.each = make("none")

    def forward(self, outputs: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
        if weights is None:
            return self.mean(outputs, targets)
        losses: Tensor = self.each(outputs, targets)
        losses = losses.flatten(1).mean(1) if losses.ndim > 1 else losses
        of_classes = getattr(self.each, "weight", None)
        total = weights.sum()
        if of_classes is not None and targets.ndim == 1:  # torch divides by them too
            total = (weights * of_classes[targets]).sum()
        return (weights * losses).sum() / total.clamp(min=torch.finfo(total.dtype).tiny)  # 0 where all weights are


def cross_entropy(label_smoothing: float, class_weights: str, class_counts: list[int]) -> nn.Module:
    """Make a float32 cross-entropy that weights classes equally ("none") or by n / (C * class count) ("balanced").

    The balanced weights are scikit-learn's. As in torch, the mean over a batch is weighted too.

    Args:
        class_counts: samples of each class in train, none of them 0.
    """
    if class_weights not in ("none", "balanced"):
        raise UserError(f"loss.class_weights={class_weights} is unknown: use none or balanced.")
    if not 0 <= label_smoothing <= 1:
        raise UserError(f"loss.label_smoothing={label_smoothing} does not fit: use 0 to 1, for example 0.1.")
    counts = torch.tensor(class_counts, dtype=torch.float32)
    weight = counts.sum() / (len(counts) * counts) if class_weights == "balanced" else None
    return SampleWeighted(lambda mean: nn.CrossEntropyLoss(weight, label_smoothing=label_smoothing, reduction=mean))


def binary_cross_entropy(positive_weights: str, label_counts: list[int], samples: int) -> nn.Module:
    """Make the mean binary cross-entropy of logits (B, L) and targets (B, L) from 0 to 1, over all decisions.

    Args:
        positive_weights: "none"; or "balanced": a label's positives weigh as much together as its negatives.
        label_counts: samples of train with each label, none of them 0.
        samples: of train.
    """
    if positive_weights not in ("none", "balanced"):
        raise UserError(f"loss.positive_weights={positive_weights} is unknown: use none or balanced.")
    counts = torch.tensor(label_counts, dtype=torch.float32)
    weight = (samples - counts).clamp(min=1) / counts if positive_weights == "balanced" else None
    return SampleWeighted(lambda mean: nn.BCEWithLogitsLoss(pos_weight=weight, reduction=mean))


def huber(delta: float) -> nn.Module:
    """Make Huber's loss of standardised numbers (B, K): squared up to `delta` standard deviations, linear beyond."""
    if not 0 < delta < math.inf:
        raise UserError(f"loss.delta={delta} does not fit: use a number above 0, such as 1.0.")
    return SampleWeighted(lambda mean: nn.HuberLoss(mean, delta))


def squared_error() -> nn.Module:
    """Make the mean squared error of standardised numbers (B, K)."""
    return SampleWeighted(lambda mean: nn.MSELoss(reduction=mean))


class _TokenMean(nn.Module):
    def forward(self, outputs: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
        sums = outputs[:, :2] if weights is None else outputs[:, :2] * weights[:, None]
        loss, tokens = sums.sum(0)
        return loss / tokens.clamp(min=torch.finfo(tokens.dtype).tiny)


def token_mean() -> nn.Module:
    """Make the loss of a language model: from outputs (B, 3) of `CausalBackbone`, the mean over all tokens."""
    return _TokenMean()
