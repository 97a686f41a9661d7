"""The name that config files have for `augmentation`."""

from ft_lightning.augment import augmentation

__all__ = ["augmentation"]
