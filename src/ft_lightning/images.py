"""From a file to an RGB image: orientation, colour modes, size limits, damage."""

import threading
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from ft_lightning.errors import UserError

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif"})
FORMATS = ("PNG", "JPEG", "MPO", "WEBP", "BMP", "TIFF", "GIF")  # MPO: the JPEG of some phones, with a second picture

_opening = threading.Lock()


class ImageError(UserError):
    """A file that cannot be used as an image; the message begins with its path."""


def read_image(path: str | Path, max_pixels: int) -> Image.Image:
    """The picture as a person sees it, in RGB: turned as its EXIF orientation says, transparency on white, 16-bit grey
    scaled to 8 bits, of an animation the first frame.

    Args:
        max_pixels: a larger picture is refused by its header, before memory is spent on it.

    Raises:
        ImageError: no such file, damaged, too large, or of a kind that has no RGB reading, such as a float TIFF.
    """
    try:
        with _open(path) as image:
            width, height = image.size
            if width * height > max_pixels:
                raise ImageError(
                    f"{path}: {width} x {height} pixels are more than data.max_pixels={max_pixels}; raise it if you mean it."
                )
            image.load()
            return _to_rgb(ImageOps.exif_transpose(image), path)
    except ImageError:
        raise
    except Exception as error:  # Pillow's decoders raise OSError, SyntaxError, ValueError, struct.error, EOFError and more
        reason = "no such file" if isinstance(error, FileNotFoundError) else f"cannot be read as an image ({error})"
        raise ImageError(f"{path}: {reason}") from error


def _open(path: str | Path) -> Image.Image:
    # Pillow checks its own, lower limit while opening; ours comes right after, still before any pixel is decoded.
    with _opening:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            return Image.open(path, formats=FORMATS)
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _to_rgb(image: Image.Image, path: str | Path) -> Image.Image:
    if image.mode == "F":
        raise ImageError(f"{path}: float pixels have no agreed range; convert the file to 8 or 16 bits.")
    if image.mode.startswith("I"):
        return _from_16_bit(image, path)
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")


def _from_16_bit(image: Image.Image, path: str | Path) -> Image.Image:
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > 65535:
        raise ImageError(f"{path}: grey values from {values.min()} to {values.max()} do not fit 16 bits; convert the file.")
    # 65535 / 257 = 255, so that black stays black and white stays white; Pillow's own conversion clips at 255 instead.
    return Image.fromarray((values / 257).round().astype(np.uint8)).convert("RGB")
