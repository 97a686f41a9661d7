"""The sections of a run's page that depend on numbers."""

from typing import Any

import numpy as np
import pandas as pd

from ft_lightning.pages import scatter
from ft_lightning.pages.page import Preview, Section, number, rounded, with_interval
from ft_lightning.pages.previews import Previews, neighbours
from ft_lightning.pages.training import baselines, flattered, training
from ft_lightning.runs.run import Run
from ft_lightning.tasks.numbers import SEP, predictions_of, strata, values_of, worst
from ft_lightning.tasks.regression import SHOWN

_DRAWN = 6  # targets in the figures


def title(metrics: dict[str, Any]) -> str:
    """Return the page's title."""
    test = metrics["test"]
    return f"{rounded(test['mae'])} off on average, on {test['n']:,} test samples"


def headline(metrics: dict[str, Any]) -> Section:
    """Build the section of the result beside two baselines."""
    test = metrics["test"]
    targets = list(test["per_target"])
    low, high = test["mae_ci95"]
    text = f"Numbers are the mean over {len(targets)} targets. " if len(targets) > 1 else ""
    text += (
        f"On other samples of the same kind, expect a mean absolute error (MAE) of {rounded(low)} to {rounded(high)} "
        f"(95 % interval). Always answering the mean of train is off by {rounded(test['mean_mae'])}"
    )
    text += baselines(test, "mae", rounded, how="as", beside="by ")
    return Section("Result", f"{text}.{flattered(metrics)}")


def counts(split: pd.DataFrame) -> pd.DataFrame:
    """Count the samples of each range of numbers in each split, from the columns class and split of split.csv."""
    values = values_of(split["class"].tolist())
    ranges = pd.Series(strata(values), index=split.index, name="range")
    in_order = ranges.iloc[np.lexsort(values.T[::-1])].unique()
    return pd.crosstab(ranges, split["split"]).loc[in_order]


def sections(run: Run, metrics: dict[str, Any]) -> list[Section]:
    """Build the sections on training, each target, errors, the worst samples, and intervals."""
    predictions = run.table("predictions")
    targets = list(metrics["test"]["per_target"])
    return [
        *training(run, "mae"),
        *_targets(metrics["test"]),
        *_errors(predictions, targets, metrics),
        *_worst(run, predictions),
        *_intervals(run, metrics),
    ]


def _targets(test: dict[str, Any]) -> list[Section]:
    each = test["per_target"]
    if len(each) < 2:
        return []
    columns = [name for name in next(iter(each.values())) if not name.endswith("_ci95")]
    table = pd.DataFrame(list(each.values()), columns=columns)
    table.insert(0, "target", list(each))
    return [Section("Targets", "Click on a column to sort by it.", table=table)]


def _errors(predictions: pd.DataFrame, targets: list[str], metrics: dict[str, Any]) -> list[Section]:
    predicted, true = predictions_of(predictions), values_of(predictions["label"].tolist())
    pairs = {target: (predicted[:, i], true[:, i]) for i, target in enumerate(targets[:_DRAWN])}
    half_width = metrics.get("interval", {}).get("half_width", {})
    biases = {f"mean of predicted - true, {target}": number(float((p - t).mean())) for target, (p, t) in pairs.items()}
    first = f" The first {_DRAWN} of {len(targets)} targets." if len(targets) > _DRAWN else ""
    return [
        Section(
            "Predicted against true",
            "A perfect model's points lie on the diagonal; the band is the 90 % interval." + first,
            figures=[scatter.predicted_against_true(pairs, half_width)],
        ),
        Section("Residuals", "How far predictions are off, and to which side.", biases, [scatter.residuals(pairs)]),
    ]


def _worst(run: Run, predictions: pd.DataFrame) -> list[Section]:
    previews, likest = Previews(run), neighbours(run)
    rows, images = worst(predictions, SHOWN), []
    for path, label, predicted in zip(rows["path"], rows["label"], predictions_of(rows).tolist(), strict=True):
        short = SEP.join(f"{float(value):.6g}" for value in label.split(SEP))
        lines = [f"{short} → {SEP.join(map(rounded, predicted))}", path]
        lines += [likest[path]] if path in likest else []
        images.append(Preview(previews.of(path), lines))
    text = f"The predictions farthest off: label → predicted.{previews.said}"
    return [Section("Worst errors", text, images=images)]


def _intervals(run: Run, metrics: dict[str, Any]) -> list[Section]:
    if not (about := metrics.get("interval")):
        return []
    test = metrics["test"]
    facts = {f"half width, {target}": number(width) for target, width in about["half_width"].items()}
    facts["coverage on test"] = with_interval(test, "coverage90")
    text = (
        "predict's columns low and high are the prediction minus and plus a half width, chosen on val so that 90 % of "
        "samples of the same kind lie within (split-conformal, Lei et al., 2018)."
    )
    if about.get("val", 9) < 9:
        text += f" val has only {about['val']} samples, so the half width is its largest error, and promises less."
    table = run.table("coverage", missing_ok=True)
    if table.empty:
        return [Section("Intervals", text, facts)]
    numeric = ["percent", "half_width", "coverage"]
    table[numeric] = table[numeric].apply(pd.to_numeric)
    shown = table.rename(columns={"half_width": "half width"})
    return [Section("Intervals", text, facts, [scatter.coverage_by_level(table)], shown)]
