"""The module under which config files name `write_digits`."""

from ft_lightning.data.digits import write_digits

__all__ = ["write_digits"]
