"""What a run's page needs beyond the run's other files, so that it can be made again from the directory alone."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from ft_lightning.calibration import Outputs, reliability
from ft_lightning.tables import write_table
from ft_lightning.thumbnails import write_thumbnails

REPORT_DATA = "report_data"
_SHOWN = 24  # pictures of a kind


def write_report_data(
    run_dir: Path,
    outputs: Outputs,
    temperature: float,
    predictions: pd.DataFrame,
    files: Mapping[str, str],
    max_pixels: int,
) -> None:
    """Write reliability.csv and thumbnails of what the page shows.

    Args:
        outputs: split -> index, logits divided by `temperature` (N, C), targets (N,).
        predictions: of test, as predictions.csv has them.
        files: path in that table -> file.
        max_pixels: a picture with more is not shown.
    """
    bins = [
        reliability(logits * factor, targets).assign(split=split, scaling=scaling)
        for split, (_, logits, targets) in outputs.items()
        for scaling, factor in (("before", temperature), ("after", 1.0))
    ]
    write_table(pd.concat(bins), run_dir / REPORT_DATA / "reliability.csv")
    shown = [*worst_errors(predictions)["path"], *least_certain(predictions)["path"]]
    folder = run_dir / REPORT_DATA / "thumbnails"
    write_thumbnails([(name, files[name]) for name in shown], folder, max_pixels)


def worst_errors(predictions: pd.DataFrame) -> pd.DataFrame:
    """The wrong answers that were most certain."""
    wrong = predictions[predictions["label"] != predictions["predicted"]]
    return wrong.sort_values("probability", ascending=False, kind="stable").head(_SHOWN)


def least_certain(predictions: pd.DataFrame) -> pd.DataFrame:
    """The answers with the lowest probability, right or wrong."""
    return predictions.sort_values("probability", kind="stable").head(_SHOWN)
