"""Pretrained networks without their last layer, their weights and their preprocessing."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ft_lightning.backbones.load import load_backbone
    from ft_lightning.backbones.load_text import load_text_backbone

__all__ = ["load_backbone", "load_text_backbone"]


def __getattr__(name: str) -> Any:
    # Config files name these as parts of `ft_lightning.backbones`; importing them loads torch, which --help must not.
    if name == "load_backbone":
        from ft_lightning.backbones.load import load_backbone

        return load_backbone
    if name == "load_text_backbone":
        from ft_lightning.backbones.load_text import load_text_backbone

        return load_text_backbone
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
