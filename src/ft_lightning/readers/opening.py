"""Opens image files: which formats, and what an unknown one may be; Pillow's own limit set aside."""

import importlib.util
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import cache
from io import BytesIO
from pathlib import Path

from PIL import Image, UnidentifiedImageError, features

from ft_lightning.readers.depth import UnusableError

HEIF = importlib.util.find_spec("pillow_heif") is not None  # the extra heif
_AVIF = bool(features.check("avif"))
SUFFIXES = (
    frozenset({".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".bmp", ".tif", ".tiff", ".gif"})
    | (frozenset({".avif"}) if _AVIF else frozenset())
    | (frozenset({".heic", ".heif"}) if HEIF else frozenset())
)
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF")  # JPEG opens MPO too, the two-image JPEG of some phones
_STARTS = {b"\xff\xd8\xff": "JPEG", b"\x89PNG": "PNG", b"II*\0": "TIFF", b"MM\0*": "TIFF"}  # have kinds not readable

_opening = threading.Lock()


class UnknownError(UnusableError):
    """Pillow does not know such a file; the message says why."""


def open_image(content: Path | BytesIO) -> Image.Image:
    # Pillow would apply its own, lower limit; the caller applies ours right after, before any pixel is decoded.
    with _unlimited():
        try:
            return Image.open(content, formats=_formats())
        except UnidentifiedImageError:
            raise UnknownError(_unknown(_start(content))) from None


def _unknown(start: bytes) -> str:
    """Say why Pillow does not know a file that starts with these bytes."""
    if start[4:8] == b"ftyp":
        return "AVIF or HEIC, which needs another package: pip install pillow-heif"
    if kind := next((name for magic, name in _STARTS.items() if start.startswith(magic)), None):
        return f"damaged, or a {kind} of a rare kind (its bits, colours or compression); save it as PNG"
    return "empty, or not a PNG, JPEG, WebP, BMP, TIFF or GIF image, whatever its name says"


def _start(content: Path | BytesIO) -> bytes:
    with content.open("rb") if isinstance(content, Path) else nullcontext(BytesIO(content.getvalue()[:12])) as file:
        return file.read(12)


@cache
def _formats() -> tuple[str, ...]:
    """Return the formats that are read, by Pillow's names."""
    if HEIF:
        from pillow_heif import register_heif_opener

        register_heif_opener()
    return FORMATS + ("AVIF",) * _AVIF + ("HEIF",) * HEIF


@contextmanager
def _unlimited() -> Iterator[None]:
    """Lift Pillow's own limit, which is one for the whole process."""
    with _opening:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = limit


@contextmanager
def limit_lifted(image: Image.Image) -> Iterator[None]:
    """Lift it while a TIFF is loaded, the one format that Pillow measures once more then."""
    with _opening:
        limit = Image.MAX_IMAGE_PIXELS
    large = image.format == "TIFF" and limit is not None and image.width * image.height > limit
    with _unlimited() if large else nullcontext():  # not always: one thread at a time may do it
        yield
