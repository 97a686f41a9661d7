"""Small JPEGs of the pictures that a page shows, kept in the run's directory so that it can be made again."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from ft_lightning.readers.images import ImageError, read_image
from ft_lightning.system.files import replacing
from ft_lightning.system.tables import read_table, write_table

_EDGE = 240  # pixels of the longer edge: sharp at the size the page shows, about 8 kB
_INDEX = "thumbnails.csv"


def write_thumbnails(pictures: Sequence[tuple[str, str]], folder: Path, max_pixels: int) -> None:
    """Have a folder hold a JPEG of each of these pictures, (name, file), and an index, in the place of earlier ones.

    A picture that cannot be read is left out.
    """
    rows: list[tuple[str, str]] = []
    with replacing(folder) as temporary:
        temporary.mkdir()
        for name, file in dict(pictures).items():
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
    """The JPEG of each picture that has one, by the picture's name."""
    if not (folder / _INDEX).is_file():
        return {}
    table = read_table(folder / _INDEX)
    rows = zip(table["path"], table["thumbnail"], strict=True)
    files = {name: folder / Path(thumbnail).name for name, thumbnail in rows}
    return {name: file for name, file in files.items() if file.is_file()}
