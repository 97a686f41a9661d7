"""Mixing the images of a train batch with each other: (inputs, targets) -> (inputs, class probabilities)."""

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torchvision.transforms import v2

from ft_lightning.system.errors import UserError

Mix = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


def none(num_classes: int) -> None:
    """Do not mix."""


def mixup(alpha: float, num_classes: int) -> Mix:
    """Blend each image with another one, and their labels in the same proportion (Zhang et al., 2018).

    Args:
        alpha: parameter of the Beta distribution of the proportion; 1: uniform, lower: one image dominates.
    """
    return _mixing(v2.MixUp, alpha, num_classes)


def cutmix(alpha: float, num_classes: int) -> Mix:
    """Replace a rectangle of each image with another image's, and mix their labels by area (Yun et al., 2019).

    Args:
        alpha: parameter of the Beta distribution of the area; 1: uniform, lower: one image dominates.
    """
    return _mixing(v2.CutMix, alpha, num_classes)


def _mixing(transform: Callable[..., Any], alpha: float, num_classes: int) -> Mix:
    if not isinstance(alpha, int | float) or alpha <= 0:
        raise UserError(f"mix.alpha={alpha} does not fit: use a number above 0, such as 0.2; or mix=none.")
    blend = transform(alpha=float(alpha), num_classes=num_classes)
    return lambda inputs, targets: blend(inputs.float(), targets)  # blended pixels are not integers
