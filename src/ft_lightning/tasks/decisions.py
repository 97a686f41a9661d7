"""Metrics of decisions: functions of probabilities (N, L), targets (N, L) of 0 and 1, and answers (N, L)."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def exact_match(_: "Tensor", targets: "Tensor", answers: "Tensor") -> "Tensor":
    """Return the share of samples (N, L) whose labels are all right."""
    return (answers == targets.bool()).all(1).double().mean()


def hamming(_: "Tensor", targets: "Tensor", answers: "Tensor") -> "Tensor":
    """Return the share of decisions (N, L), one for each label of each sample, that are wrong."""
    return (answers != targets.bool()).double().mean()


def f1_micro(_: "Tensor", targets: "Tensor", answers: "Tensor") -> "Tensor":
    """Return F1 of all decisions (N, L) together."""
    right, either = (answers & targets.bool()).sum(), answers.sum() + targets.sum()
    return 2 * right / either.clamp(min=1)
