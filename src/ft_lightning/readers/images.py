"""From a file to an RGB image: orientation, colour modes, size limits, damage."""

import hashlib
import stat
from contextlib import nullcontext
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import PIL
from PIL import Image

from ft_lightning.readers import metadata, opening
from ft_lightning.readers.depth import UnusableError, grey_of, image_of, is_deep, refuse_dark, refuse_signed
from ft_lightning.readers.fast import Resize, shrink_on_load
from ft_lightning.readers.opening import UnknownError, limit_lifted, open_image
from ft_lightning.readers.sample import Inspection, SampleError

VERSION = 1  # raise it when the code changes what an image looks like in memory; empties stores and memos
_VERDICTS = 2  # raise it when other files can be used than before; empties memos
_EDGE = 240  # pixels of a preview's longer edge: sharp at the size a page shows, about 8 kB
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

Source: TypeAlias = "str | Path | bytes | Image.Image | np.ndarray"  # a file, or what it holds


def read_image(source: Source, max_pixels: int, digest: str | None = None, **how: Any) -> Image.Image:
    """Read an image as a person sees it, in RGB: rotated by its EXIF orientation, transparency on white, 16-bit grey
    scaled to 8 bits, the first frame of an animation.

    Args:
        max_pixels: a larger image is refused by its header, before memory is spent on it.
        digest: sha256 that the file's bytes must have; None accepts any bytes.
        how: as in `inspect_image`.
    """
    image, found = inspect_image(source, max_pixels, digest, **how)
    if image is None:
        raise SampleError(f"{source if isinstance(source, str | Path) else 'image'}: {found.error}.")
    return image


def inspect_image(
    source: Source, max_pixels: int, digest: str | None = None, resize: Resize | None = None, fast: bool = False
) -> tuple[Image.Image | None, Inspection]:
    """Read an image like `read_image`, but return None and an inspection with the reason if it cannot be used.

    Args:
        resize: what will be done with the image; its result is held to `max_pixels` too.
        fast: decode a large JPEG smaller, at twice what `resize` needs.
    """
    reading = _Reading(max_pixels, resize, fast and resize is not None)
    try:
        image = reading(_content(source, digest))
        # Whether a size is too large depends on more than the bytes.
        return image, Inspection(*reading.header, reading.too_large, digest is not None and image is not None)
    except Exception as error:  # decoders raise OSError, SyntaxError, ValueError, struct.error, EOFError and more
        lasting = digest is not None and not isinstance(error, MemoryError | _FileError)
        return None, Inspection(*reading.header, _reason(error), lasting)


def preview(source: Source, max_pixels: int) -> bytes:
    """Make a small JPEG of what `read_image` returns."""
    image = read_image(source, max_pixels, resize=_thumbnail_size, fast=True)
    image.thumbnail((_EDGE, _EDGE))
    file = BytesIO()
    image.save(file, format="JPEG", quality=80)
    return file.getvalue()


def _thumbnail_size(width: int, height: int) -> tuple[int, int]:
    scale = min(1.0, _EDGE / max(width, height))
    return max(1, round(scale * width)), max(1, round(scale * height))


def size_error(width: int, height: int, max_pixels: int, resize: Resize | None = None) -> str:
    """Say what is wrong with an image of this size; empty if it and what a resize makes of it are small enough."""
    if width * height > max_pixels:
        return f"{width} x {height} pixels are more than max_pixels={max_pixels}; raise it"
    wide, high = resize(width, height) if resize and width and height else (0, 0)
    if wide * high > max_pixels:
        return f"{width} x {height} pixels, resized to {wide} x {high}, are more than max_pixels={max_pixels}; crop it"
    return ""


def decoder() -> str:
    """Return what an inspection depends on besides the bytes: the versions of this module and of Pillow."""
    return f"{VERSION}.{_VERDICTS}{'+heif' * opening.HEIF}/{PIL.__version__}"


class _FileError(OSError):
    """The file cannot be read here, or does not have the expected bytes; the message says why."""


@dataclass
class _Reading:
    """Decodes one image."""

    max_pixels: int
    resize: Resize | None
    fast: bool
    header: tuple[int, int, str] = (0, 0, "")
    too_large: str = ""

    def __call__(self, content: Path | BytesIO | Image.Image) -> Image.Image | None:
        """Return the image in RGB; None, and the reason in `too_large`, for one that is."""
        try:
            return self._decode(content, None)
        except Exception as error:
            if isinstance(error, UnusableError | MemoryError) and not isinstance(error, UnknownError):
                raise
            # An intact image must not suffer from what stands beside its pixels.
            whole = content.read_bytes() if isinstance(content, Path) else getattr(content, "getvalue", bytes)()
            if (found := metadata.bare(whole)) is None:
                raise
            try:
                return self._decode(BytesIO(found[0]), found[1])
            except Exception as again:  # it was the pixels; the second reason says more if the first says nothing
                raise again if isinstance(error, UnknownError) else error from None

    def _decode(self, content: Path | BytesIO | Image.Image, exif: bytes | None) -> Image.Image | None:
        given = isinstance(content, Image.Image)  # a caller's own stays open
        with nullcontext(content) if isinstance(content, Image.Image) else open_image(content) as image:
            self.header = (*image.size, image.mode)
            self.too_large = size_error(*image.size, self.max_pixels, self.resize)
            if self.too_large:
                return None
            refuse_signed(image)
            deep = is_deep(image)
            if self.fast and self.resize and not given:
                shrink_on_load(image, self.resize)
            with limit_lifted(image):
                image.load()
            turn = metadata.orientation({"exif": exif} if exif else image.info) if image.format != "TIFF" else 1
            rgb = _to_rgb(image.transpose(_TURNS[turn]) if turn in _TURNS else image)
            if deep:
                refuse_dark(max(high for _, high in rgb.getextrema()), 255)  # type: ignore[misc]  # of three bands
            return rgb


def _reason(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "no such file"
    if isinstance(error, UnusableError | _FileError):
        return str(error)
    return f"cannot be read as an image ({str(error).strip().rstrip('.') or type(error).__name__})"


def _content(source: Source, digest: str | None) -> Path | BytesIO | Image.Image:
    """Return what to open: the image itself if it is one, or a file or its bytes, which have this digest."""
    if isinstance(source, Image.Image):
        return source
    if isinstance(source, np.ndarray):
        return image_of(source)
    if not isinstance(source, str | Path):
        return BytesIO(source)
    path = Path(source)
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # opening a named pipe would wait for ever
            raise _FileError("a folder, not a file" if path.is_dir() else "not a file")
        if digest is None:
            return path
        content = path.read_bytes()
    except _FileError:
        raise
    except OSError as error:
        if digest is None and isinstance(error, FileNotFoundError):
            raise
        raise _FileError(f"cannot be read ({error.strerror})") from error
    if hashlib.sha256(content).hexdigest() != digest:
        raise _FileError("changed since the dataset was looked through; start again")
    return BytesIO(content)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise UnusableError("float pixels have no agreed range; convert the file to 8 or 16 bits")
    if image.mode.startswith("I"):
        return grey_of(image).convert("RGB")
    if image.mode == "La":  # grey multiplied by its opacity
        image = image.convert("LA")
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")  # copying 12 megapixels takes 33 ms
