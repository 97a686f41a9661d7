"""The name that config files have for `write_digits`."""

from ft_lightning.data.digits import write_digits

__all__ = ["write_digits"]
