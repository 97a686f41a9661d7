"""What a run's page needs beyond the run's other files, so that it can be made again from the directory alone."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from ft_lightning.readers.sample import Reader, Sample
from ft_lightning.runs.thumbnails import write_thumbnails
from ft_lightning.system.tables import read_table

REPORT_DATA = "report_data"
_SHOWN = 24  # pictures of a kind


def write_pictures(run_dir: Path, predictions: pd.DataFrame, samples: Sequence[Sample], reader: Reader) -> None:
    """Write previews of the samples that the page shows.

    Args:
        predictions: of `samples`, as predictions.csv has them.
    """
    by_name = {sample.name: sample for sample in samples}
    shown = [*worst_errors(predictions)["path"], *least_certain(predictions)["path"]]
    write_thumbnails([by_name[name] for name in shown], run_dir / REPORT_DATA / "thumbnails", reader.preview)


def worst_errors(predictions: pd.DataFrame) -> pd.DataFrame:
    """The wrong answers that were most certain."""
    wrong = predictions[predictions["label"] != predictions["predicted"]]
    return wrong.sort_values("probability", ascending=False, kind="stable").head(_SHOWN)


def least_certain(predictions: pd.DataFrame) -> pd.DataFrame:
    """The answers with the lowest probability, right or wrong."""
    return predictions.sort_values("probability", kind="stable").head(_SHOWN)


def read_neighbours(run_dir: Path) -> dict[str, str]:
    """Of each test sample the training sample that is most like it, and its label."""
    path = run_dir / REPORT_DATA / "neighbours.csv"
    if not path.is_file():
        return {}
    table = read_table(path)
    told = table["neighbour"] + " (" + table["label"] + ")"
    return dict(zip(table["path"], told, strict=True))
