"""The reader of images: file -> RGB image as a person sees it -> pixels as the weights expect them."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Self

from PIL import Image
from torch import Tensor
from torch.utils.data import default_collate

from ft_lightning.readers import images
from ft_lightning.readers.preprocess import VERSION, Preprocess
from ft_lightning.readers.sample import Inputs, Inspection, Sample

MAX_PIXELS = 100_000_000

Transform = Callable[[Image.Image], Tensor]  # RGB image -> uint8 pixels (3, H, W)


@dataclass(frozen=True)
class ImageReader:
    """Reads image files as the weights expect them; a `readers.sample.Reader`."""

    preprocess: Preprocess
    max_pixels: int = MAX_PIXELS  # a larger image is refused by its header, before memory is spent on it
    augment: Transform | None = None  # applied in place of `preprocess`

    def __call__(self, sample: Sample) -> Tensor:
        """Read a sample's pixels, uint8 (3, H, W)."""
        return self._transform(images.read_image(sample.path, self.max_pixels, sample.digest or None))

    def inspect(self, sample: Sample) -> tuple[Tensor, Inspection]:
        image, found = images.inspect_image(sample.path, self.max_pixels, sample.digest or None)
        return self._transform(image or Image.new("RGB", (32, 32))), found

    def collate(self, items: list[Inputs]) -> Inputs:
        return default_collate(items)

    def preview(self, sample: Sample) -> bytes:
        """Return a small JPEG."""
        return images.preview(sample.path, self.max_pixels)

    def key(self) -> dict[str, Any]:
        versions = {"image": images.VERSION, "preprocess": VERSION}
        return {"kind": "image", "versions": versions, "preprocess": self.preprocess.to_dict()}

    def to_dict(self) -> dict[str, Any]:
        return self.preprocess.to_dict()

    def limited(self, max_pixels: int) -> Self:
        """Return the same reader with another limit."""
        return replace(self, max_pixels=max_pixels)

    def _transform(self, image: Image.Image) -> Tensor:
        return (self.augment or self.preprocess)(image)
