"""The sections of a run's page for two classes: what it costs to find more of the second one."""

from typing import Any

import numpy as np
import pandas as pd

from ft_lightning.pages import figures
from ft_lightning.pages.page import Section
from ft_lightning.runs.run import Run
from ft_lightning.tasks.intervals import wilson_interval

_RECALLS = (0.5, 0.7, 0.8, 0.9, 0.95, 0.99)


def thresholds(run: Run, metrics: dict[str, Any], predictions: pd.DataFrame) -> list[Section]:
    """Build the section on the thresholds of a model of two classes; none for more classes.

    A threshold is chosen on val for a recall; its recall and precision on test are then what to expect.
    """
    names = list(metrics["test"]["per_class"])
    if len(names) != 2:
        return []
    found = names[1]
    curve = {found: figures.recall_and_precision(predictions[f"p({found})"], predictions["label"] == found)}
    text = (
        f"How many of {found} are found (recall), and how many of the answers {found} are right (precision), as the "
        f"probability from which {found} is answered goes from 1 to 0."
    )
    val = run.table("val_predictions", missing_ok=True)
    if val.empty or not (val["label"] == found).any():
        return [Section("Threshold", text, figures=[figures.precision_recall_curves(curve)])]
    text += (
        " Each threshold was chosen on val for the recall beside it; recall and precision are those of test. Say one "
        "to predict: threshold=..."
    )
    table = pd.DataFrame([_row(val, predictions, found, recall) for recall in _RECALLS])
    return [Section("Threshold", text, figures=[figures.precision_recall_curves(curve)], table=table)]


def _row(val: pd.DataFrame, test: pd.DataFrame, name: str, recall: float) -> dict[str, Any]:
    wanted = np.sort(val.loc[val["label"] == name, f"p({name})"].astype(float))[::-1]
    threshold = wanted[min(len(wanted), int(np.ceil(recall * len(wanted)))) - 1]
    answered, has = test[f"p({name})"].astype(float) >= threshold, test["label"] == name
    right, n, all_of_it = int((answered & has).sum()), int(answered.sum()), int(has.sum())
    low, high = wilson_interval(right, n) if n else (None, None)
    return {
        "recall on val": recall,
        "threshold": float(threshold),
        "recall": right / all_of_it if all_of_it else None,
        "precision": right / n if n else None,
        "low": low,
        "high": high,
        "answered": n,
    }
