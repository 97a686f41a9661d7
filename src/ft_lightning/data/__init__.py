"""From files to batches."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ft_lightning.data.module import ImageFolderDataModule
    from ft_lightning.data.texts import TextDataModule

__all__ = ["ImageFolderDataModule", "TextDataModule"]


def __getattr__(name: str) -> Any:
    # Config files name `ft_lightning.data.ImageFolderDataModule`; importing it loads torch, which --help must not.
    if name == "ImageFolderDataModule":
        from ft_lightning.data.module import ImageFolderDataModule

        return ImageFolderDataModule
    if name == "TextDataModule":
        from ft_lightning.data.texts import TextDataModule

        return TextDataModule
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
