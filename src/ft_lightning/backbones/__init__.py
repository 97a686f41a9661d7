"""Pretrained networks without their last layer, their weights and their preprocessing."""

from typing import TYPE_CHECKING

from ft_lightning.system.lazy import lazily

if TYPE_CHECKING:
    from ft_lightning.backbones.load import load_backbone
    from ft_lightning.backbones.load_text import load_text_backbone

__all__ = ["load_backbone", "load_text_backbone"]

# Config files name these as parts of `ft_lightning.backbones`.
__getattr__ = lazily(__name__, {"load_backbone": "load", "load_text_backbone": "load_text"})
