"""Preprocess: resize, crop and normalise as the weights were trained."""

import math
from dataclasses import asdict, dataclass
from typing import Any, Self

from PIL.Image import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as F

from ft_lightning.system.errors import UserError

VERSION = 1  # raise it when the code changes the pixels it makes; empties feature stores


@dataclass(frozen=True)
class Preprocess:
    """Resizes and centre-crops an RGB image to uint8 pixels (3, H, W), as the weights were trained.

    The backbone does the rest on its device: it divides by 255 and normalises with `mean` and `std`. Both together
    equal the libraries' own transforms to the bit.
    """

    resize: tuple[int, ...]  # one number: the shorter edge; (height, width): exactly that, whatever the aspect ratio
    crop: tuple[int, int]  # height, width
    interpolation: str  # Pillow's filter: nearest, bilinear, bicubic, ...
    mean: tuple[float, ...]  # of pixels between 0 and 1
    std: tuple[float, ...]

    def __call__(self, image: Image) -> Tensor:
        resized = F.resize(image, list(self.resize), interpolation=InterpolationMode(self.interpolation))
        return F.pil_to_tensor(F.center_crop(resized, list(self.crop)))

    def resized(self, width: int, height: int) -> tuple[int, int]:
        """Return the width and height to which an image of this size is resized, before the crop."""
        if len(self.resize) == 2:
            return self.resize[1], self.resize[0]
        (edge,), long = self.resize, max(width, height)
        scaled = int(edge * long / min(width, height))  # as torchvision computes it
        return (scaled, edge) if width == long else (edge, scaled)

    @classmethod
    def from_torchvision(cls, transforms: Any) -> Self:
        """Build it from torchvision's `weights.transforms()`."""
        (edge,) = transforms.resize_size
        (side,) = transforms.crop_size
        return cls((edge,), (side, side), transforms.interpolation.value, tuple(transforms.mean), tuple(transforms.std))

    @classmethod
    def from_timm(cls, config: dict[str, Any], name: str) -> Self:
        """Build it from `timm.data.resolve_data_config`, by the rules of timm's `transforms_imagenet_eval`."""
        channels, height, width = config["input_size"]
        mode = config["crop_mode"] or "center"
        if mode not in ("center", "squash") or channels != 3 or (mode == "center" and height != width):
            raise UserError(
                f"model.name={name}: its weights expect input_size={config['input_size']} with crop mode {mode}, which "
                "is not supported: choose other weights (model.weights) or another model."
            )
        edges = tuple(math.floor(side / config["crop_pct"]) for side in (height, width))
        return cls(
            edges if mode == "squash" else edges[:1],
            (height, width),
            config["interpolation"],
            tuple(config["mean"]),
            tuple(config["std"]),
        )

    def to_dict(self) -> dict[str, Any]:
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        plain: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in values.items()
        }
        return cls(**plain)
