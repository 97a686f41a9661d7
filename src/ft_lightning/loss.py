"""Loss functions: (logits (B, C), targets (B,)) -> scalar."""

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
