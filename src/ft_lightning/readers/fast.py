"""`data.decode=fast`: large JPEGs are decoded smaller, by a part of the work."""

from collections.abc import Callable

from PIL import Image, JpegImagePlugin

from ft_lightning.readers.metadata import orientation
from ft_lightning.system.errors import UserError

VERSION = 1  # raise it when the code changes what an image looks like in memory; empties stores of decode=fast
DECODES = ("exact", "fast")
_MARGIN = 2  # at twice the size that a resize makes, pixels differ by 0.2 of 255; at once its size by 0.5

Resize = Callable[[int, int], tuple[int, int]]  # width and height of an image -> those after a resize


def check_decode(decode: object) -> None:
    """Raise UserError for an unknown `data.decode`."""
    if decode not in DECODES:
        raise UserError(f"data.decode={decode} is unknown: use one of {', '.join(DECODES)}.")


def shrink_on_load(image: Image.Image, resize: Resize) -> None:
    """Have an opened JPEG decode at the smallest DCT scale (1/2, 1/4, 1/8) that leaves twice what the resize needs.

    The whole stream is read and decoded in either case, so damage shows as before.
    """
    if isinstance(image, JpegImagePlugin.JpegImageFile):
        width, height = resize(*image.size)
        if orientation(image.info) > 4:  # it lies on its side
            height, width = resize(image.height, image.width)
        image.draft(None, (_MARGIN * width, _MARGIN * height))
