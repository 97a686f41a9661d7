"""Pixels of more than 8 bits, and arrays: 8 bits as a person sees them, or a refusal that names the reason."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_BITS, _PHOTOMETRIC, _SAMPLE_FORMAT = 258, 262, 339  # tags of a TIFF
_DARK = 4095  # of 65535: nobody sees anything in it


class UnusableError(ValueError):
    """The image decodes but has no agreed look; the message says why."""


def is_deep(image: Image.Image) -> bool:
    """Return whether an opened, not yet loaded image has 16 bits a colour, of which Pillow keeps the upper eight."""
    return any(";16" in str(tile.args) for tile in getattr(image, "tile", ()))


def refuse_dark(highest: int, deepest: int) -> None:
    """Raise UnusableError if the brightest value shows that fewer bits were used than a file has room for."""
    if 0 < highest * 65535 <= _DARK * deepest:
        raise UnusableError(
            f"its values end at {highest} of {deepest}, which looks black, as 12 bits stored in 16 do; "
            "convert the file to the full range"
        )


def refuse_signed(image: Image.Image) -> None:
    """Raise UnusableError for a TIFF of signed 8 or 16 bit samples, for which no value is agreed to be black."""
    tags = getattr(image, "tag_v2", {})
    if 2 in tags.get(_SAMPLE_FORMAT, (1,)) and max(tags.get(_BITS, (1,))) < 32:
        raise UnusableError("signed pixels have no agreed black; convert the file to 8 or 16 bits without sign")


def grey_of(image: Image.Image) -> Image.Image:
    """Turn grey of 12, 16 or 32 bits into 8 bits (mode L): black stays black and white white."""
    tags = getattr(image, "tag_v2", {})
    bits = max(tags.get(_BITS, (16,)))
    white = 2 ** min(bits, 16) - 1
    values = np.asarray(image)
    if values.min() < 0 or values.max() > white:
        raise UnusableError(
            f"grey from {values.min()} to {values.max()} does not fit {min(bits, 16)} bits; convert the file"
        )
    refuse_dark(int(values.max()), white)
    # 65535 / 257 = 255, so that black stays black and white stays white; Pillow's own conversion clips at 255 instead.
    levels = (np.arange(white + 1) * (255 / white)).round().astype(np.uint8)
    if tags.get(_PHOTOMETRIC) == 0:  # white is zero: Pillow turns such pixels over up to 8 bits only
        levels = levels[::-1]
    if "transparency" in image.info:
        levels = levels.copy()
        levels[image.info["transparency"]] = 255
    return Image.fromarray(levels[values])


def image_of(array: NDArray[np.generic]) -> Image.Image:
    """Make an image of an array (H, W), (H, W, 1), (H, W, 3) or (H, W, 4) of uint8, or (H, W) of uint16 or bool."""
    kind, shape = array.dtype, array.shape
    if len(shape) == 3 and shape[2] == 1:
        array = array[..., 0]
    flat = array.ndim == 2
    if not (flat or (array.ndim == 3 and array.shape[2] in (3, 4))) or 0 in shape:
        raise UnusableError(
            f"an array of shape {shape}; use (height, width), or (height, width, 3) in RGB, or 4 in RGBA"
        )
    if kind.kind == "b":
        array = array.astype(np.uint8) * 255
    elif not (kind == np.uint8 or (flat and kind == np.uint16)):
        raise UnusableError(f"an array of {kind} has no agreed range; use uint8 from 0 to 255, or uint16 for grey")
    return Image.fromarray(np.ascontiguousarray(array))
