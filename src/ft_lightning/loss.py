"""Loss functions: (outputs (B, C), targets) -> scalar. What a task knows of its labels comes as arguments."""

import torch
from torch import nn

from ft_lightning.system.errors import UserError


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
    return nn.CrossEntropyLoss(weight, label_smoothing=label_smoothing)


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
    return nn.BCEWithLogitsLoss(pos_weight=weight)
