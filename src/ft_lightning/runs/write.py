"""What a run found: metrics.json, predictions.csv, report_data/."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from ft_lightning.data.split import SPLIT_COLUMNS
from ft_lightning.features.neighbours import knn_baseline
from ft_lightning.readers.sample import Sample
from ft_lightning.runs.report_data import REPORT_DATA, write_pictures
from ft_lightning.system.files import write_json
from ft_lightning.system.tables import write_table
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
    run_dir: Path,
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
    write_table(tables["test"], run_dir / "predictions.csv")
    write_json(run_dir / "metrics.json", metrics)
    write_table(tables["val"], run_dir / REPORT_DATA / "val_predictions.csv")
    _write_reliability(run_dir, outputs, temperature)
    write_pictures(run_dir, tables["test"], data.splits["test"], data.max_pixels)
    write_table(neighbours, run_dir / REPORT_DATA / "neighbours.csv")
    return metrics


def write_evaluation(
    run_dir: Path, model: Any, samples: Sequence[Sample], logits: Tensor, max_pixels: int, about: dict[str, Any]
) -> dict[str, Any]:
    """Write metrics.json, predictions.csv and split.csv of a model on labelled samples, and what its page needs.

    Args:
        model: an `artifact.TrainedModel`, for its classes and what it is.
        logits: (N, C), divided by the model's temperature, in the order of `samples`.
        max_pixels: a picture with more is not shown.
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
    write_table(pd.DataFrame(split, columns=SPLIT_COLUMNS), run_dir / "split.csv")
    write_table(table, run_dir / "predictions.csv")
    write_json(run_dir / "metrics.json", metrics)
    _write_reliability(run_dir, outputs, model.temperature)
    write_pictures(run_dir, table, samples, max_pixels)
    return metrics


def _write_reliability(run_dir: Path, outputs: Outputs, temperature: float) -> None:
    """Write reliability.csv: how often answers of a similar probability are right, before and after scaling.

    Args:
        outputs: split -> index, logits divided by `temperature` (N, C), targets (N,).
    """
    bins = [
        reliability(logits * factor, targets).assign(split=split, scaling=scaling)
        for split, (_, logits, targets) in outputs.items()
        for scaling, factor in (("before", temperature), ("after", 1.0))
    ]
    write_table(pd.concat(bins), run_dir / REPORT_DATA / "reliability.csv")
