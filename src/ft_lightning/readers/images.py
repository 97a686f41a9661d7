"""From a file to an RGB image: orientation, colour modes, size limits, damage."""

import hashlib
import threading
from io import BytesIO
from pathlib import Path

import numpy as np
import PIL
from PIL import Image, ImageOps, UnidentifiedImageError

from ft_lightning.readers.sample import Inspection, SampleError

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif"})
VERSION = 1  # raise it when the code changes what an image looks like in memory; empties stores and memos
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF")  # JPEG opens MPO too, the two-image JPEG of some phones
_EDGE = 240  # pixels of a preview's longer edge: sharp at the size a page shows, about 8 kB

_opening = threading.Lock()


def read_image(path: str | Path, max_pixels: int, digest: str | None = None) -> Image.Image:
    """Read an image as a person sees it, in RGB: rotated by its EXIF orientation, transparency on white, 16-bit grey
    scaled to 8 bits, the first frame of an animation.

    Args:
        max_pixels: a larger image is refused by its header, before memory is spent on it.
        digest: sha256 that the file's bytes must have; None accepts any bytes.
    """
    image, found = inspect_image(path, max_pixels, digest)
    if image is None:
        raise SampleError(f"{path}: {found.error}.")
    return image


def inspect_image(
    path: str | Path, max_pixels: int, digest: str | None = None
) -> tuple[Image.Image | None, Inspection]:
    """Read an image like `read_image`, but return None and an inspection with the reason if it cannot be used."""
    header = (0, 0, "")
    try:
        content = path if digest is None else _bytes(path, digest)
        with _open(content) as image:
            header = (*image.size, image.mode)
            if too_large := size_error(*image.size, max_pixels):
                return None, Inspection(*header, too_large, False)
            image.load()
            return _to_rgb(ImageOps.exif_transpose(image)), Inspection(*header, "", digest is not None)
    except Exception as error:  # decoders raise OSError, SyntaxError, ValueError, struct.error, EOFError and more
        lasting = digest is not None and not isinstance(error, MemoryError | _FileError)
        return None, Inspection(*header, _reason(error), lasting)


def preview(path: str | Path, max_pixels: int) -> bytes:
    """Make a small JPEG of what `read_image` returns."""
    image = read_image(path, max_pixels)
    image.thumbnail((_EDGE, _EDGE))
    file = BytesIO()
    image.save(file, format="JPEG", quality=80)
    return file.getvalue()


def size_error(width: int, height: int, max_pixels: int) -> str:
    """Say what is wrong with an image of this size; empty if it is small enough."""
    fits = width * height <= max_pixels
    return "" if fits else f"{width} x {height} pixels are more than max_pixels={max_pixels}; raise it"


def decoder() -> str:
    """Return what an inspection depends on besides the bytes: the version of this module and Pillow's."""
    return f"{VERSION}/{PIL.__version__}"


class _UnusableError(ValueError):
    """The image decodes but cannot be converted to RGB; the message says why."""


class _FileError(OSError):
    """The file does not have the expected bytes; the message says why."""


def _reason(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "no such file"
    if isinstance(error, _UnusableError | _FileError):
        return str(error)
    if isinstance(error, UnidentifiedImageError):
        return "empty, or not a PNG, JPEG, WebP, BMP, TIFF or GIF image, whatever its name says"
    return f"cannot be read as an image ({str(error).strip().rstrip('.') or type(error).__name__})"


def _bytes(path: str | Path, digest: str) -> BytesIO:
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise _FileError(f"cannot be read ({error.strerror})") from error
    if hashlib.sha256(content).hexdigest() != digest:
        raise _FileError("changed since the dataset was looked through; start again")
    return BytesIO(content)


def _open(path: str | Path | BytesIO) -> Image.Image:
    # Pillow would apply its own, lower limit; the caller applies ours right after, before any pixel is decoded.
    with _opening:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            return Image.open(path, formats=FORMATS)
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise _UnusableError("float pixels have no agreed range; convert the file to 8 or 16 bits")
    if image.mode.startswith("I"):
        return _from_16_bit(image)
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")


def _from_16_bit(image: Image.Image) -> Image.Image:
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > 65535:
        raise _UnusableError(f"grey from {values.min()} to {values.max()} does not fit 16 bits; convert the file")
    # 65535 / 257 = 255, so that black stays black and white stays white; Pillow's own conversion clips at 255 instead.
    grey = (values / 257).round().astype(np.uint8)
    if "transparency" in image.info:
        grey[values == image.info["transparency"]] = 255
    return Image.fromarray(grey).convert("RGB")
