"""The name that config files have for `augmentation`."""

from ft_lightning.readers.preprocess import augmentation

__all__ = ["augmentation"]
