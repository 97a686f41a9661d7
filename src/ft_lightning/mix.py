"""Mixing images of a batch with each other, in training only: (inputs, targets) -> (inputs, class probabilities)."""

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torchvision.transforms import v2

from ft_lightning.system.errors import UserError

Mix = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


def none(num_classes: int) -> None:
    """Every image by itself."""


def mixup(alpha: float, num_classes: int) -> Mix:
    """Each image blended with another one, and their labels alike (Zhang et al., 2018).

    Args:
        alpha: of the Beta distribution of shares; 1: all alike, lower: one image prevails.
    """
    return _mixing(v2.MixUp, alpha, num_classes)


def cutmix(alpha: float, num_classes: int) -> Mix:
    """A rectangle of each image from another one, and labels by area (Yun et al., 2019).

    Args:
        alpha: of the Beta distribution of areas; 1: all alike, lower: one image prevails.
    """
    return _mixing(v2.CutMix, alpha, num_classes)


def _mixing(transform: Callable[..., Any], alpha: float, num_classes: int) -> Mix:
    if not isinstance(alpha, int | float) or alpha <= 0:
        raise UserError(f"mix.alpha={alpha} does not fit: use a number above 0, such as 0.2; or mix=none.")
    blend = transform(alpha=float(alpha), num_classes=num_classes)
    return lambda inputs, targets: blend(inputs.float(), targets)  # blended bytes are no whole numbers
