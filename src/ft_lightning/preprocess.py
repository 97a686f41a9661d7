"""The module under which older config files name `augmentation`."""

from ft_lightning.augment import augmentation

__all__ = ["augmentation"]
