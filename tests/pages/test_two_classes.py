"""What the page says about the threshold between two classes."""

from pathlib import Path

import pandas as pd
import pytest

from ft_lightning.pages.figures import recall_and_precision
from ft_lightning.pages.two_classes import thresholds
from ft_lightning.runs.run import Run

TWO = {"test": {"per_class": {"no": {}, "yes": {}}}}


def answers(scores: list[float], labels: list[str]) -> pd.DataFrame:
    return pd.DataFrame({"path": range(len(scores)), "label": labels, "p(yes)": [str(score) for score in scores]})


def test_a_threshold_is_chosen_on_val_for_a_recall_and_measured_on_test(tmp_path: Path) -> None:
    run = Run(tmp_path)
    labels = ["yes", "no"] * 10
    run.write("val_predictions", answers([0.99 - i / 40 for i in range(20)], labels))
    test = answers([0.9, 0.8, 0.74, 0.3], ["yes", "no", "yes", "yes"])
    (section,) = thresholds(run, TWO, test)
    assert section.table is not None
    half = section.table.iloc[0]
    assert half["recall on val"] == 0.5
    assert half["threshold"] == pytest.approx(0.99 - 8 / 40), "the fifth of ten that have it"
    assert (half["recall"], half["precision"], half["answered"]) == (pytest.approx(1 / 3), 0.5, 2)
    assert half["low"] < 0.5 < half["high"]
    assert section.table["recall"].is_monotonic_increasing


def test_there_is_none_for_more_classes_and_no_table_without_val(tmp_path: Path) -> None:
    table = answers([0.9, 0.1], ["yes", "no"])
    assert thresholds(Run(tmp_path), {"test": {"per_class": dict.fromkeys("abc")}}, table) == []
    (section,) = thresholds(Run(tmp_path), TWO, table)
    assert section.table is None
    assert len(section.figures) == 1


def test_recall_and_precision_from_one_sample_to_all() -> None:
    recall, precision = recall_and_precision(pd.Series(["0.2", "0.9", "0.5"]), pd.Series([True, True, False]))
    assert recall.tolist() == [0.5, 0.5, 1.0]
    assert precision.tolist() == pytest.approx([1, 0.5, 2 / 3])
