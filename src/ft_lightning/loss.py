"""Loss functions: (logits (B, C), targets (B,)) -> scalar."""

import torch
from torch import nn

from ft_lightning.errors import UserError


def cross_entropy(label_smoothing: float, class_weights: str, class_counts: list[int]) -> nn.Module:
    """Cross-entropy, with each class weighted alike ("none") or by n / (C * its count) ("balanced", as scikit-learn).

    Raises:
        UserError: any other `class_weights`.
    """
    if class_weights not in ("none", "balanced"):
        raise UserError(f"loss.class_weights={class_weights} is unknown: use none or balanced.")
    counts = torch.tensor(class_counts, dtype=torch.float32)
    weight = counts.sum() / (len(counts) * counts) if class_weights == "balanced" else None
    return nn.CrossEntropyLoss(weight=weight, label_smoothing=label_smoothing)
