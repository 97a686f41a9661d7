"""What a run found: metrics.json, predictions.csv, report_data/."""

import time
from collections.abc import Sequence
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from ft_lightning.data.split import SPLIT_COLUMNS
from ft_lightning.features.neighbours import knn_baseline
from ft_lightning.readers.sample import Sample
from ft_lightning.runs.run import Run
from ft_lightning.runs.thumbnails import least_certain, worst_errors, write_thumbnails
from ft_lightning.system.versions import versions
from ft_lightning.tasks.calibration import Outputs, before_scaling, reliability
from ft_lightning.tasks.metrics import full_metrics
from ft_lightning.tasks.multiclass import prediction_table


class Stopwatch:
    """Seconds by phase; a lap ends the phase that is named."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._start = self._last = time.perf_counter()

    def lap(self, phase: str) -> None:
        now = time.perf_counter()
        self.seconds[phase] = now - self._last
        self.seconds["total_s"] = now - self._start
        self._last = now

    def timing(self, epochs: int, data: Any, stored: Any) -> dict[str, Any]:
        """The laps, samples of train and val a second while fitting, and what the feature store gave."""
        seen = epochs * sum(len(data.splits[split]) for split in ("train", "val"))
        cache = {"hits": stored.found, "computed": stored.computed}
        return self.seconds | {"images_per_s": seen / self.seconds["fit_s"], "cache": cache}


def write(
    run: Run,
    outputs: Outputs,
    temperature: float,
    data: Any,
    timing: dict[str, Any],
    repeats: dict[str, Any],
) -> dict[str, Any]:
    """Write metrics.json and predictions.csv of a training run, and what its page needs; returns the metrics.

    Args:
        outputs: val and test -> index (N,), logits (N, C), targets (N,), as `calibration.calibrated` gives them.
        temperature: that the logits were divided by.
        data: the datamodule, for names, classes, sizes and stored features.
        repeats: as `repeats.repeat` gives it; empty where there were none.
    """
    scored = {
        split: full_metrics(logits, targets, data.class_names, data.class_counts)
        for split, (_, logits, targets) in outputs.items()
    }
    knn_accuracy, neighbours = knn_baseline(data)
    metrics = {
        "val": scored["val"],
        "test": scored["test"] | {"knn_accuracy": knn_accuracy},
        "calibration": {"temperature": temperature, "before": before_scaling(outputs, temperature)},
        **({"repeats": repeats} if repeats else {}),
        "timing": timing,
        "data": {
            "location": str(data.location),
            "classes": len(data.class_names),
            "samples": {split: len(samples) for split, samples in data.splits.items()},
        },
        "versions": versions(),
    }
    tables = {}
    for split, (index, logits, targets) in outputs.items():
        names, labels = [data.splits[split][i].name for i in index], [data.class_names[i] for i in targets]
        tables[split] = prediction_table(names, logits, data.class_names, labels)
    run.write("predictions", tables["test"])
    run.write("metrics", metrics)
    run.write("val_predictions", tables["val"])
    _write_reliability(run, outputs, temperature)
    _write_thumbnails(run, tables["test"], data.splits["test"], data.max_pixels)
    run.write("neighbours", neighbours)
    return metrics


def write_evaluation(
    run: Run, model: Any, samples: Sequence[Sample], logits: Tensor, max_pixels: int, about: dict[str, Any]
) -> dict[str, Any]:
    """Write metrics.json, predictions.csv and split.csv of a model on labelled samples, and what its page needs.

    Args:
        model: a `predictor.TrainedModel`, for its classes and what it is.
        logits: (N, C), divided by the model's temperature, in the order of `samples`.
        max_pixels: an image with more is not shown.
        about: what else metrics.json says: timing and data.

    Returns:
        The metrics.
    """
    names, labels = [sample.name for sample in samples], [sample.label for sample in samples]
    targets = torch.tensor([model.class_names.index(label) for label in labels])
    outputs = {"test": (torch.arange(len(samples)), logits, targets)}
    metrics = {
        "test": full_metrics(logits, targets, model.class_names, model.card["class_counts"]),
        "calibration": {"temperature": model.temperature, "before": before_scaling(outputs, model.temperature)},
        **about,
        "model": {key: model.card[key] for key in ("backbone", "finetune", "sha256")},
        "versions": versions(),
    }
    table = prediction_table(names, logits, model.class_names, labels)
    split = [(sample.name, sample.label, "test", sample.digest, "") for sample in samples]
    run.write("split", pd.DataFrame(split, columns=SPLIT_COLUMNS))
    run.write("predictions", table)
    run.write("metrics", metrics)
    _write_reliability(run, outputs, model.temperature)
    _write_thumbnails(run, table, samples, max_pixels)
    return metrics


def _write_reliability(run: Run, outputs: Outputs, temperature: float) -> None:
    """Write reliability.csv: how often answers of a similar probability are right, before and after scaling.

    Args:
        outputs: split -> index, logits divided by `temperature` (N, C), targets (N,).
    """
    bins = [
        reliability(logits * factor, targets).assign(split=split, scaling=scaling)
        for split, (_, logits, targets) in outputs.items()
        for scaling, factor in (("before", temperature), ("after", 1.0))
    ]
    run.write("reliability", pd.concat(bins))


def _write_thumbnails(run: Run, predictions: pd.DataFrame, samples: Sequence[Sample], max_pixels: int) -> None:
    """Write thumbnails of the images that the page shows.

    Args:
        predictions: of `samples`, as predictions.csv has them.
    """
    files = {sample.name: sample.path for sample in samples}
    shown = [*worst_errors(predictions)["path"], *least_certain(predictions)["path"]]
    write_thumbnails([(name, files[name]) for name in shown], run.thumbnails, max_pixels)
