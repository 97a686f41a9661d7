"""The sections of a run's page that depend on classes."""

from typing import Any

import pandas as pd

from ft_lightning.pages import figures
from ft_lightning.pages.page import Preview, Section, number
from ft_lightning.pages.previews import Previews, neighbours
from ft_lightning.pages.training import baselines, flattered, training
from ft_lightning.pages.two_classes import thresholds
from ft_lightning.runs.run import Run
from ft_lightning.system.errors import number_of
from ft_lightning.tasks.intervals import wilson_interval
from ft_lightning.tasks.shown import least_certain, worst_errors

_MATRIX_UP_TO = 30  # classes; with more, only the most confused pairs are shown
_PAIRS_SHOWN = 50
_THRESHOLDS = (0.0, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)


def title(metrics: dict[str, Any]) -> str:
    """Return the page's title."""
    test = metrics["test"]
    return f"{test['accuracy']:.1%} of {test['n']:,} test samples right"


def headline(metrics: dict[str, Any]) -> Section:
    """Build the section of the result beside two baselines."""
    test = metrics["test"]
    low, high = test["accuracy_ci95"]
    text = (
        f"On other samples of the same kind, expect {low:.1%} to {high:.1%} (95 % interval). "
        f"Always answering the commonest class of train is right in {test['majority_accuracy']:.1%}"
    )
    text += baselines(test, "accuracy", "{:.1%}".format, beside="in ")
    return Section("Result", f"{text}.{flattered(metrics)}")


def counts(split: pd.DataFrame) -> pd.DataFrame:
    """Count the samples of each class in each split, from the columns class and split of split.csv."""
    return pd.crosstab(split["class"], split["split"])


def sections(run: Run, metrics: dict[str, Any]) -> list[Section]:
    """Build the sections on training, confused classes, wrong and uncertain predictions, and calibration."""
    predictions = run.table("predictions")
    predictions["probability"] = predictions["probability"].astype(float)
    return [
        *training(run, "accuracy"),
        *_classes(metrics["test"]),
        *_galleries(run, predictions),
        *thresholds(run, metrics, predictions),
        *_trust(run, metrics, predictions),
    ]


def _classes(test: dict[str, Any]) -> list[Section]:
    confusion, names = test["confusion"], list(test["per_class"])
    columns = ["n", "precision", "recall", "f1", "auroc"]
    table = pd.DataFrame(list(test["per_class"].values()), columns=columns)
    table.insert(0, "class", names)
    pairs = pd.DataFrame(
        [
            {"labelled": true, "answered": predicted, "samples": count, "share of the class": count / sum(row.values())}
            for true, row in confusion.items()
            for predicted, count in row.items()
            if predicted != true
        ],
        columns=["labelled", "answered", "samples", "share of the class"],
    ).sort_values(["samples", "share of the class"], ascending=False, kind="stable")
    text = f"{number_of(len(pairs), 'pair of classes was', 'pairs of classes were')} confused" + (
        f"; the {_PAIRS_SHOWN} commonest are shown." if len(pairs) > _PAIRS_SHOWN else "."
    )
    matrix = [figures.confusion_matrix(confusion, names)] if len(names) <= _MATRIX_UP_TO else []
    confused = pairs.head(_PAIRS_SHOWN) if len(pairs) else None
    return [
        Section("Confusion", text if len(pairs) else "No class was taken for another.", figures=matrix, table=confused),
        Section("Classes", "Click on a column to sort by it.", table=table),
    ]


def _galleries(run: Run, predictions: pd.DataFrame) -> list[Section]:
    previews, likest = Previews(run), neighbours(run)

    def shown(row: Any) -> Preview:
        right = row.predicted == row.label
        first = row.label if right else f"{row.label} → {row.predicted}"
        lines = [first, f"probability {row.probability:.3f}", row.path]
        lines += [likest[row.path]] if row.path in likest else []
        return Preview(previews.of(row.path), lines)

    wrong = (predictions["label"] != predictions["predicted"]).sum()
    found = [
        ("Worst errors", f"The most certain of {wrong:,} wrong answers: label → answer.", worst_errors(predictions)),
        ("Least certain", "The answers with the lowest probability, right or wrong.", least_certain(predictions)),
    ]
    return [
        Section(title, text + previews.said, images=[shown(row) for row in rows.itertuples()])
        for title, text, rows in found
        if len(rows)
    ]


def _trust(run: Run, metrics: dict[str, Any], predictions: pd.DataFrame) -> list[Section]:
    right = predictions["label"] == predictions["predicted"]
    rows = []
    for threshold in _THRESHOLDS:
        answered = predictions["probability"] >= threshold
        n, hits = int(answered.sum()), int(right[answered].sum())
        low, high = wilson_interval(hits, n) if n else (None, None)
        rows.append((threshold, n / len(predictions), n, hits / n if n else None, low, high))
    abstaining = Section(
        "When to abstain",
        "Leaving the least certain answers to a person makes the others more accurate: choose a value for "
        "predict's abstain_below.",
        figures=[figures.coverage_curve(predictions["probability"], right)],
        table=pd.DataFrame(rows, columns=["abstain below", "answered", "samples", "accuracy", "low", "high"]),
    )
    bins = run.table("reliability", missing_ok=True)
    if bins.empty:
        return [abstaining]
    numeric = [column for column in bins.columns if column not in ("split", "scaling")]
    bins[numeric] = bins[numeric].apply(pd.to_numeric)
    before = metrics["calibration"]["before"]
    facts = {"temperature": number(metrics["calibration"]["temperature"])}
    for split in before:
        for name, title in (("ece", "ECE"), ("loss", "loss")):
            facts[f"{title} on {split}"] = f"{before[split][name]:.4f} before, {metrics[split][name]:.4f} after"
    calibration = Section(
        "Calibration",
        "How well probabilities match accuracy (ECE is the expected calibration error). One number, the temperature, "
        "was fitted on val and divides the model's outputs; above 1 it lowers confidence. The diagram is of test.",
        facts,
        figures=[figures.reliability_diagram(bins[bins["split"] == "test"])],
    )
    return [calibration, abstaining]
