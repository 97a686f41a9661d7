"""From files to batches."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ft_lightning.data.instructions import InstructionsDataModule
    from ft_lightning.data.module import ImageFolderDataModule
    from ft_lightning.data.texts import TextDataModule

__all__ = ["ImageFolderDataModule", "InstructionsDataModule", "TextDataModule"]


def __getattr__(name: str) -> Any:
    # Config files name `ft_lightning.data.ImageFolderDataModule`; importing it loads torch, which --help must not.
    if name == "ImageFolderDataModule":
        from ft_lightning.data.module import ImageFolderDataModule

        return ImageFolderDataModule
    if name == "TextDataModule":
        from ft_lightning.data.texts import TextDataModule

        return TextDataModule
    if name == "InstructionsDataModule":
        from ft_lightning.data.instructions import InstructionsDataModule

        return InstructionsDataModule
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
