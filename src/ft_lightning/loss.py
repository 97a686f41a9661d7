"""Loss functions: (logits (B, C), targets (B,)) -> scalar."""

import torch
from torch import nn

from ft_lightning.system.errors import UserError


def cross_entropy(label_smoothing: float, class_weights: str, class_counts: list[int]) -> nn.Module:
    """Cross-entropy in float32, with each class weighted alike ("none") or by n / (C * its count) ("balanced").

    The balanced weights are scikit-learn's. As in torch, a batch's mean is weighted too.

    Args:
        class_counts: samples of each class in train, none of them 0.

    Raises:
        UserError: any other `class_weights`, or a `label_smoothing` outside 0 to 1.
    """
    if class_weights not in ("none", "balanced"):
        raise UserError(f"loss.class_weights={class_weights} is unknown: use none or balanced.")
    if not 0 <= label_smoothing <= 1:
        raise UserError(f"loss.label_smoothing={label_smoothing} does not fit: use 0 to 1, for example 0.1.")
    counts = torch.tensor(class_counts, dtype=torch.float32)
    weight = counts.sum() / (len(counts) * counts) if class_weights == "balanced" else None
    return nn.CrossEntropyLoss(weight, label_smoothing=label_smoothing)
