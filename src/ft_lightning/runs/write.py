"""What a run found: metrics.json, predictions.csv, report_data/."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ft_lightning.data.collect import split_table
from ft_lightning.data.protocol import Data
from ft_lightning.features.neighbours import knn_baseline
from ft_lightning.readers.sample import Reader, Sample
from ft_lightning.runs.run import Run
from ft_lightning.runs.thumbnails import write_thumbnails
from ft_lightning.system.versions import versions
from ft_lightning.tasks.task import Outputs, Task


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

    def timing(self, epochs: int, data: Data, found: int, computed: int) -> dict[str, Any]:
        """The laps, samples of train and val a second while fitting, and what the feature store gave."""
        seen = epochs * sum(len(data.splits[split]) for split in ("train", "val"))
        cache = {"hits": found, "computed": computed}
        return self.seconds | {"images_per_s": seen / self.seconds["fit_s"], "cache": cache}


def write(
    run: Run,
    outputs: Mapping[str, Outputs],
    task: Task,
    data: Data,
    timing: dict[str, Any],
    repeats: dict[str, Any],
) -> dict[str, Any]:
    """Write metrics.json and predictions.csv of a training run, and what its page needs; returns the metrics.

    Args:
        outputs: of val and test.
        task: calibrated.
        data: for names, sizes and served features.
        repeats: as `search.repeats.repeat` gives it; empty where there were none.
    """
    scored = {split: task.metrics(each.rows, each.target, full=True) for split, each in outputs.items()}
    knn_score, neighbours = knn_baseline(data)
    details = task.details(outputs)
    metrics = {
        "val": scored["val"],
        "test": scored["test"] | {f"knn_{task.monitor}": knn_score},
        **details.metrics,
        **({"repeats": repeats} if repeats else {}),
        "timing": timing,
        "data": {
            "location": str(data.location),
            **task.facts(),
            "samples": {split: len(samples) for split, samples in data.splits.items()},
        },
        "versions": versions(),
    }
    tables = {}
    for split, each in outputs.items():
        samples = [data.splits[split][i] for i in each.positions]
        tables[split] = task.table([s.name for s in samples], each.rows, [s.label for s in samples])
    run.write("predictions", tables["test"])
    run.write("metrics", metrics)
    run.write("val_predictions", tables["val"])
    for name, table in details.tables.items():
        run.write(name, table)
    _write_thumbnails(run, task.shown(tables["test"]), data.splits["test"], data.reader)
    run.write("neighbours", neighbours)
    return metrics


def write_evaluation(
    run: Run, task: Task, samples: Sequence[Sample], rows: Tensor, reader: Reader, about: dict[str, Any]
) -> dict[str, Any]:
    """Write metrics.json, predictions.csv and split.csv of a model on labelled samples, and what its page needs.

    Args:
        task: the model's, calibrated.
        rows: the model's outputs (N, ...), in the order of `samples`.
        about: what else metrics.json says: timing, data, the model.

    Returns:
        The metrics.
    """
    target = task.encode([sample.label for sample in samples])
    details = task.details({"test": Outputs(torch.arange(len(samples)), rows, target)})
    metrics = {
        "test": task.metrics(rows, target, full=True),
        **details.metrics,
        **about,
        "versions": versions(),
    }
    table = task.table([sample.name for sample in samples], rows, [sample.label for sample in samples])
    run.write("split", split_table({"test": samples}))
    run.write("predictions", table)
    run.write("metrics", metrics)
    for name, each in details.tables.items():
        run.write(name, each)
    _write_thumbnails(run, task.shown(table), samples, reader)
    return metrics


def _write_thumbnails(run: Run, shown: Sequence[str], samples: Sequence[Sample], reader: Reader) -> None:
    """Write previews of the samples that the page shows."""
    by_name = {sample.name: sample for sample in samples}
    write_thumbnails([by_name[name] for name in shown], run.thumbnails, reader.preview)
