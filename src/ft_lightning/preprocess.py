"""The name that config files have for `augmentation`."""
