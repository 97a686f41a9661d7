"""The LightningDataModule of images: a folder or table of them, read exactly as the weights expect."""

from dataclasses import dataclass
from typing import ClassVar

from ft_lightning.data.base import LabelledData
from ft_lightning.data.kinds import IMAGES, Kind
from ft_lightning.readers.fast import check_decode
from ft_lightning.system.kinds import Count


@dataclass(eq=False, kw_only=True)
class ImageFolderDataModule(LabelledData):
    """Labelled images of a folder, CSV or other source: see `LabelledData`.

    Batches are `{"inputs": uint8 (B, 3, H, W), "target": (B,), "index": (B,)}`.
    """

    kind: ClassVar[Kind] = IMAGES

    csv: str | None
    table: str | None  # the same
    max_pixels: Count
    decode: str
    on_bad_image: str

    def __post_init__(self) -> None:
        check_decode(self.decode)
        super().__post_init__()
