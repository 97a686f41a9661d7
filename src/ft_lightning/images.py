"""From a file to an RGB image: orientation, colour modes, size limits, damage."""

import hashlib
import threading
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from ft_lightning.errors import UserError

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif"})
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF")  # JPEG opens MPO too, the two-picture JPEG of some phones

_opening = threading.Lock()


class ImageError(UserError):
    """A file that cannot be used as an image; the message begins with its path."""

    def __init__(self, message: str) -> None:
        # A DataLoader raises the error of a worker again with the worker's whole traceback as its message.
        super().__init__(message.strip().rpartition(f"{__name__}.{type(self).__name__}: ")[2])


def read_image(path: str | Path, max_pixels: int, digest: str | None = None) -> Image.Image:
    """The picture as a person sees it, in RGB: turned as its EXIF orientation says, transparency on white, 16-bit grey
    scaled to 8 bits, of an animation the first frame.

    Args:
        max_pixels: a larger picture is refused by its header, before memory is spent on it.
        digest: sha256 that the file's bytes must have; None for whatever is there.

    Raises:
        ImageError: no such file, damaged, changed, too large, or without an RGB reading, such as a float TIFF.
    """
    try:
        with _open(path if digest is None else _bytes(path, digest)) as image:
            width, height = image.size
            if width * height > max_pixels:
                raise ImageError(f"{path}: {width} x {height} pixels are more than max_pixels={max_pixels}; raise it.")
            image.load()
            return _to_rgb(ImageOps.exif_transpose(image), path)
    except ImageError:
        raise
    except Exception as error:  # decoders raise OSError, SyntaxError, ValueError, struct.error, EOFError and more
        raise ImageError(f"{path}: {_reason(error)}.") from error


def _reason(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "no such file"
    if isinstance(error, UnidentifiedImageError):
        return "empty, or not a PNG, JPEG, WebP, BMP, TIFF or GIF image, whatever its name says"
    return f"cannot be read as an image ({str(error).strip().rstrip('.')})"


def _bytes(path: str | Path, digest: str) -> BytesIO:
    content = Path(path).read_bytes()
    if hashlib.sha256(content).hexdigest() != digest:
        raise ImageError(f"{path}: changed since the dataset was looked through; start again.")
    return BytesIO(content)


def _open(path: str | Path | BytesIO) -> Image.Image:
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
        raise ImageError(f"{path}: grey from {values.min()} to {values.max()} does not fit 16 bits; convert the file.")
    # 65535 / 257 = 255, so that black stays black and white stays white; Pillow's own conversion clips at 255 instead.
    grey = (values / 257).round().astype(np.uint8)
    if "transparency" in image.info:
        grey[values == image.info["transparency"]] = 255
    return Image.fromarray(grey).convert("RGB")
