"""scikit-learn's handwritten digits as a folder of images, which needs no download."""

import os
import shutil
from pathlib import Path

import numpy as np
from PIL import Image
from platformdirs import user_cache_dir

from ft_lightning.system.errors import UserError

_SCALE = 12  # 8 x 8 digits become 96 x 96 pixels
_MARGIN = 64  # on each side, to 224 x 224: dark on white, like handwriting on paper


def write_digits() -> Path:
    """Write the 1,797 digits once, as <user cache>/ft_lightning/digits-2/<digit>/<number>.png; return that folder."""
    folder = Path(user_cache_dir("ft_lightning")) / "digits-2"
    if folder.is_dir():
        return folder
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    try:
        _write(temporary)
        temporary.rename(folder)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        if not folder.is_dir():  # else another process was faster
            raise UserError(
                f"The digits cannot be written to {folder} ({error}): make room, or give data.root=/your/folder."
            ) from error
    return folder


def _write(folder: Path) -> None:
    from sklearn.datasets import load_digits

    digits = load_digits()
    for number, (pixels, label) in enumerate(zip(digits.images, digits.target, strict=True)):
        path = folder / str(label) / f"{number:04d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        _render(pixels).save(path)


def _render(pixels: np.ndarray) -> Image.Image:
    image = Image.fromarray((255 - pixels * (255 / 16)).round().astype(np.uint8))  # ink from 0 to 16
    side = image.width * _SCALE
    canvas = Image.new("L", (side + 2 * _MARGIN, side + 2 * _MARGIN), "white")
    canvas.paste(image.resize((side, side), Image.Resampling.BICUBIC), (_MARGIN, _MARGIN))
    return canvas
