"""The images that a page shows: which, and small JPEGs of them in the run's directory, so that it can be made again."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from ft_lightning.readers.images import ImageError, read_image
from ft_lightning.system.files import replacing
from ft_lightning.system.tables import read_table, write_table

_SHOWN = 24  # images of a kind
_EDGE = 240  # pixels of the longer edge: sharp at the size the page shows, about 8 kB
_INDEX = "thumbnails.csv"


def worst_errors(predictions: pd.DataFrame) -> pd.DataFrame:
    """The wrong answers with the highest probability."""
    wrong = predictions[predictions["label"] != predictions["predicted"]]
    return wrong.sort_values("probability", ascending=False, kind="stable").head(_SHOWN)


def least_certain(predictions: pd.DataFrame) -> pd.DataFrame:
    """The answers with the lowest probability, right or wrong."""
    return predictions.sort_values("probability", kind="stable").head(_SHOWN)


def write_thumbnails(images: Sequence[tuple[str, str]], folder: Path, max_pixels: int) -> None:
    """Write a JPEG of each (name, file) and an index, replacing the folder.

    An image that cannot be read, or has more than `max_pixels`, is left out.
    """
    rows: list[tuple[str, str]] = []
    with replacing(folder) as temporary:
        temporary.mkdir()
        for name, file in dict(images).items():
            try:
                image = read_image(file, max_pixels)
            except ImageError:
                continue
            image.thumbnail((_EDGE, _EDGE))
            thumbnail = f"{len(rows):04d}.jpg"
            image.save(temporary / thumbnail, format="JPEG", quality=80)
            rows.append((name, thumbnail))
        write_table(pd.DataFrame(rows, columns=["path", "thumbnail"]), temporary / _INDEX)


def read_thumbnails(folder: Path) -> dict[str, Path]:
    """The JPEG of each image that has one, by the image's name."""
    if not (folder / _INDEX).is_file():
        return {}
    table = read_table(folder / _INDEX)
    rows = zip(table["path"], table["thumbnail"], strict=True)
    files = {name: folder / Path(thumbnail).name for name, thumbnail in rows}
    return {name: file for name, file in files.items() if file.is_file()}
