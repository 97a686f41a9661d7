"""From files to batches."""

from typing import TYPE_CHECKING

from ft_lightning.system.lazy import lazily

if TYPE_CHECKING:
    from ft_lightning.data.instructions import InstructionsDataModule
    from ft_lightning.data.module import ImageFolderDataModule
    from ft_lightning.data.texts import TextDataModule

__all__ = ["ImageFolderDataModule", "InstructionsDataModule", "TextDataModule"]

# Config files name these as parts of `ft_lightning.data`.
__getattr__ = lazily(
    __name__,
    {"ImageFolderDataModule": "module", "InstructionsDataModule": "instructions", "TextDataModule": "texts"},
)
