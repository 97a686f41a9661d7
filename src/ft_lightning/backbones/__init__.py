"""Pretrained networks without their last layer, their weights and their preprocessing."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ft_lightning.backbones.load import load_backbone

__all__ = ["load_backbone"]


def __getattr__(name: str) -> Any:
    # Config files name `ft_lightning.backbones.load_backbone`; importing it loads torch, which --help must not.
    if name == "load_backbone":
        from ft_lightning.backbones.load import load_backbone

        return load_backbone
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
