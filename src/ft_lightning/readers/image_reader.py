"""The reader of images: file -> RGB image as a person sees it -> pixels as the weights expect them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

from PIL import Image
from torch import Tensor
from torch.utils.data import default_collate

from ft_lightning.readers import fast, images
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

    decode: str = "exact"  # exact | fast

    alike: ClassVar[bool] = False
    apart: ClassVar[bool] = False
    kind: ClassVar[str] = "image"
    libraries: ClassVar[tuple[str, ...]] = ("torch", "torchvision", "timm", "pillow")

    def __call__(self, sample: Sample) -> Tensor:
        """Read a sample's pixels, uint8 (3, H, W)."""
        image = images.read_image(*self._what(sample), resize=self._resize, fast=self.decode == "fast")
        return self._transform(image)

    def inspect(self, sample: Sample) -> tuple[Tensor, Inspection]:
        image, found = images.inspect_image(*self._what(sample), resize=self._resize, fast=self.decode == "fast")
        return self._transform(image or Image.new("RGB", (32, 32))), found

    def collate(self, items: list[Inputs]) -> Inputs:
        return default_collate(items)

    def preview(self, sample: Sample) -> bytes:
        """Return a small JPEG."""
        return images.preview(sample.path, self.max_pixels)

    def facts(self, samples: Sequence[Sample]) -> dict[str, Any]:
        return {}

    def size_error(self, width: int, height: int) -> str:
        return images.size_error(width, height, self.max_pixels, self.preprocess.resized)

    def key(self) -> dict[str, Any]:
        versions = {"image": images.VERSION, "preprocess": VERSION}
        # Nothing is added for exact: features that were stored before there was another way stay valid.
        decode = {} if self.decode == "exact" else {"decode": self.decode, "decode_version": fast.VERSION}
        return {"kind": "image", "versions": versions, "preprocess": self.preprocess.to_dict()} | decode

    def to_dict(self) -> dict[str, Any]:
        # A model directory without the key means exact.
        return self.preprocess.to_dict() | ({} if self.decode == "exact" else {"decode": self.decode})

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Build it from the entry "preprocess" of model.json."""
        preprocess = {key: value for key, value in values.items() if key != "decode"}
        return cls(Preprocess.from_dict(preprocess)).decoding(values.get("decode", "exact"))

    def files(self) -> dict[str, bytes]:
        return {}

    def adapted(self, keys: Mapping[str, Any]) -> Self:
        limited = replace(self, max_pixels=keys.get("max_pixels", self.max_pixels))
        return limited.decoding(keys["decode"]) if "decode" in keys else limited

    def augmented(self, augment: Transform | None) -> Self:
        return self if augment in (None, self.preprocess) else replace(self, augment=augment)

    def blank(self) -> Image.Image:
        return Image.new("RGB", (64, 48))

    def for_training(self) -> Self:
        return self

    def lengths(self, samples: Sequence[Sample]) -> None:
        return None

    def decoding(self, decode: str) -> Self:
        """Return the same reader with another way of decoding: `exact`, or `fast` for large JPEGs."""
        fast.check_decode(decode)
        return replace(self, decode=decode)

    def _what(self, sample: Sample) -> tuple[images.Source, int, str | None]:
        source = sample.path if sample.content is None else sample.content
        return source, self.max_pixels, sample.digest or None

    def _resize(self, width: int, height: int) -> tuple[int, int]:
        return self.preprocess.resized(width, height)

    def _transform(self, image: Image.Image) -> Tensor:
        return (self.augment or self.preprocess)(image)
