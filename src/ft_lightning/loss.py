"""Loss functions: (logits (B, C), targets (B,)) -> scalar."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ft_lightning.errors import UserError


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
    return _CrossEntropy(
        counts.sum() / (len(counts) * counts) if class_weights == "balanced" else None, label_smoothing
    )


class _CrossEntropy(nn.Module):
    """Holds the weights, so that they follow the module to its device."""

    weight: Tensor | None

    def __init__(self, weight: Tensor | None, label_smoothing: float) -> None:
        super().__init__()
        self.register_buffer("weight", weight, persistent=False)  # made from the data, so no part of a saved state
        self.label_smoothing = label_smoothing

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(logits.float(), targets, self.weight, label_smoothing=self.label_smoothing)
