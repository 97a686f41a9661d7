"""The sections of a run's page that depend on labels, of which a sample may have several."""

from typing import Any

import numpy as np
import pandas as pd

from ft_lightning.pages import figures
from ft_lightning.pages.page import Preview, Section, number
from ft_lightning.pages.previews import Previews
from ft_lightning.pages.training import baselines, flattered, training
from ft_lightning.runs.run import Run
from ft_lightning.tasks.label_sets import names_in
from ft_lightning.tasks.shown import worst_sets

_DRAWN_UP_TO = 30  # labels; with more, curves and pairs could not be told apart
_PAIRS_SHOWN = 50


def title(metrics: dict[str, Any]) -> str:
    """Return the page's title."""
    test = metrics["test"]
    average = number(test["average_precision"]) or "-"
    return f"Average precision {average}, {test['exact_match']:.1%} of {test['n']:,} samples right"


def headline(metrics: dict[str, Any]) -> Section:
    """Build the section of the result beside its baselines."""
    test = metrics["test"]
    text = "No sample of test has a label"
    if "average_precision_ci95" in test:
        low, high = test["average_precision_ci95"]
        text = (
            f"On other samples of the same kind, expect an average precision of {low:.3f} to {high:.3f} (95 % "
            f"interval), as a mean over the labels that occur. Chance has {number(test['chance_average_precision'])}"
        )
    text += baselines(test, "average_precision", "{:.3f}".format)
    text += (
        f". All labels are right in {test['exact_match']:.1%} of the samples; always answering the commonest labels of "
        f"train would be in {test['commonest_exact_match']:.1%}."
    )
    return Section("Result", text + flattered(metrics))


def counts(split: pd.DataFrame) -> pd.DataFrame:
    """Count the samples with each label in each split, from the columns class and split of split.csv."""
    each = split.assign(label=split["class"].fillna("").map(lambda label: names_in(label) or ["(none)"]))
    each = each.explode("label")
    return pd.crosstab(each["label"], each["split"])


def sections(run: Run, metrics: dict[str, Any]) -> list[Section]:
    """Build the sections on training, each label, labels that occur together, and wrong answers."""
    predictions = run.table("predictions").fillna("")
    return [
        *training(run, "average_precision"),
        *_labels(metrics["test"], predictions),
        *_together(predictions),
        *_gallery(run, predictions),
    ]


def _labels(test: dict[str, Any], predictions: pd.DataFrame) -> list[Section]:
    columns = ["n", "precision", "recall", "f1", "average_precision", "auroc", "threshold"]
    table = pd.DataFrame(list(test["per_label"].values()), columns=columns)
    table.insert(0, "label", list(test["per_label"]))
    text = (
        "A sample has a label from the label's threshold on, which was chosen on val for the highest F1. Click on a "
        "column to sort by it."
    )
    curves = {
        name: figures.recall_and_precision(
            predictions[f"p({name})"], predictions["label"].map(lambda label, name=name: name in names_in(label))
        )
        for name, found in test["per_label"].items()
        if found["n"] and f"p({name})" in predictions.columns
    }
    drawn = [figures.precision_recall_curves(curves)] if 0 < len(curves) <= _DRAWN_UP_TO else []
    table = table.rename(columns={"average_precision": "average precision"})
    return [Section("Labels", text, figures=drawn, table=table)]


def _together(predictions: pd.DataFrame) -> list[Section]:
    """Build the section on labels that samples of test have together, and were answered together."""
    true, answered = (_pairs(predictions[column]) for column in ("label", "predicted"))
    names = sorted({name for pair in (*true, *answered) for name in pair})
    rows = [
        (*pair, true.get(pair, 0), answered.get(pair, 0))
        for pair in sorted({*true, *answered}, key=lambda pair: (-true.get(pair, 0), pair))
        if pair[0] < pair[1]
    ]
    if not rows:
        return []
    together = np.array([[true.get((one, other), 0) for other in names] for one in names])
    drawn = [figures.co_occurrence(together, names)] if len(names) <= _DRAWN_UP_TO else []
    table = pd.DataFrame(rows, columns=["label", "and", "labelled together", "answered together"]).head(_PAIRS_SHOWN)
    more = f"; the {_PAIRS_SHOWN} commonest pairs" if len(rows) > _PAIRS_SHOWN else ""
    return [Section("Together", f"How often labels occur together in test{more}.", figures=drawn, table=table)]


def _pairs(labels: pd.Series) -> dict[tuple[str, str], int]:
    """Count the samples with each pair of labels, in both orders; a label with itself counts those that have it."""
    found: dict[tuple[str, str], int] = {}
    for label in labels:
        for one in (names := names_in(label)):
            for other in names:
                found[one, other] = found.get((one, other), 0) + 1
    return found


def _gallery(run: Run, predictions: pd.DataFrame) -> list[Section]:
    previews = Previews(run)
    wrong = int((predictions["label"] != predictions["predicted"]).sum())
    images = []
    for row in worst_sets(predictions).astype({"loss": float}).to_dict("records"):
        mistakes = [f"{what} {row[what]}" for what in ("missed", "extra") if row[what]]
        lines = [row["label"] or "(none)", " · ".join(mistakes), f"loss {row['loss']:.2f}", row["path"]]
        images.append(Preview(previews.of(row["path"]), lines))
    text = f"{wrong:,} answers are not right in all labels; those with the highest loss first.{previews.said}"
    return [Section("Worst errors", text, images=images)] if images else []
