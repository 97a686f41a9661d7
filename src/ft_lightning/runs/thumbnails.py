"""JPEG thumbnails of the images on a page, kept in the run's directory so that the page can be made again."""

from collections.abc import Callable, Iterable
from pathlib import Path

import pandas as pd

from ft_lightning.readers.sample import Sample, SampleError
from ft_lightning.system.files import replacing
from ft_lightning.system.tables import read_table, write_table

_INDEX = "thumbnails.csv"


def write_thumbnails(samples: Iterable[Sample], folder: Path, preview: Callable[[Sample], bytes | str]) -> None:
    """Write a JPEG of each sample and an index, replacing the folder; a sample that cannot be read is left out."""
    rows: list[tuple[str, str]] = []
    with replacing(folder) as temporary:
        temporary.mkdir()
        for sample in {sample.name: sample for sample in samples}.values():
            try:
                jpeg = preview(sample)
            except SampleError:
                continue
            if isinstance(jpeg, str):
                continue
            thumbnail = f"{len(rows):04d}.jpg"
            (temporary / thumbnail).write_bytes(jpeg)
            rows.append((sample.name, thumbnail))
        write_table(pd.DataFrame(rows, columns=["path", "thumbnail"]), temporary / _INDEX)


def read_thumbnails(folder: Path) -> dict[str, Path]:
    """Return the existing JPEGs by sample name."""
    if not (folder / _INDEX).is_file():
        return {}
    table = read_table(folder / _INDEX)
    rows = zip(table["path"], table["thumbnail"], strict=True)
    files = {name: folder / Path(thumbnail).name for name, thumbnail in rows}
    return {name: file for name, file in files.items() if file.is_file()}
