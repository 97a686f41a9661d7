"""Writes the results of a run: metrics.json, predictions.csv, report_data/."""

import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd
import torch
from torch import Tensor

from ft_lightning.data.collect import split_table
from ft_lightning.data.protocol import Data
from ft_lightning.features.neighbours import knn_baseline
from ft_lightning.features.tfidf import tfidf_baseline
from ft_lightning.readers.sample import Reader, Sample
from ft_lightning.runs import paired
from ft_lightning.runs.previews import write_previews
from ft_lightning.runs.run import Run
from ft_lightning.system.memory import peak_memory
from ft_lightning.system.versions import versions
from ft_lightning.tasks.task import Details, Outputs, Task


class Answered(NamedTuple):
    """What a baseline answers."""

    positions: Tensor  # (M,) of the samples among those of test
    rows: Tensor  # (M, ...) as a model's outputs


class Stopwatch:
    """Measures seconds by phase; `lap` ends the named phase, or a further part of it."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._start = self._last = time.perf_counter()

    def lap(self, phase: str) -> None:
        now = time.perf_counter()
        self.seconds[phase] = self.seconds.get(phase, 0.0) + now - self._last
        self.seconds["total_s"] = now - self._start
        self._last = now

    def timing(self, seen: int, found: int, computed: int) -> dict[str, Any]:
        """Return the laps, samples of train and val a second during fit, the store's hits, and memory so far.

        Args:
            seen: samples during fit.
        """
        cache = {"hits": found, "computed": computed}
        rate = seen / self.seconds["fit_s"]
        return self.seconds | {"images_per_s": rate, "cache": cache, "memory": peak_memory()}


def write(
    run: Run,
    outputs: Mapping[str, Outputs],
    task: Task,
    data: Data,
    timing: dict[str, Any],
    *more: Details,
) -> dict[str, Any]:
    """Write metrics.json and predictions.csv of a training run, and its page's data; return the metrics.

    Args:
        outputs: of val and test.
        task: calibrated.
        data: for names, sizes and served features.
        more: further results, as of repeats.
    """
    knn, tfidf = knn_baseline(data), tfidf_baseline(data)
    baselines, others = {} if task.generates else {f"knn_{task.monitor}": knn.score}, {}
    if knn.score is not None:
        others[f"knn_{task.monitor}"] = Answered(knn.positions, knn.votes)
    if tfidf is not None:
        tested = outputs["test"].positions  # all, unless trainer.limit_test_batches leaves some out
        baselines[f"tfidf_{task.monitor}"] = task.score(tfidf, data.targets("test"))
        others[f"tfidf_{task.monitor}"] = Answered(torch.arange(len(tested)), tfidf[tested])
    run.write("neighbours", knn.table)
    for name, table in (named for each in more for named in each.tables.items()):
        run.write(name, table)
    samples = {split: [data.splits[split][i] for i in each.positions] for split, each in outputs.items()}
    run.write("val_predictions", answers_table(task, samples["val"], outputs["val"].rows))
    about = {
        **{name: entry for each in more for name, entry in each.metrics.items()},
        "differences": _differences(task, data, outputs["test"], others),
        "timing": timing,
        "data": {
            "location": str(data.location),
            **task.facts(),
            "samples": {split: len(samples) for split, samples in data.splits.items()},
            "left_out": len(data.left_out),
            **data.reader.facts([sample for samples in data.splits.values() for sample in samples]),
        },
    }
    return _write(run, outputs, task, samples["test"], data.reader, baselines, about)


def _differences(task: Task, data: Data, test: Outputs, others: dict[str, Answered]) -> dict[str, Any]:
    """Return the 95 % interval of model minus baseline on the same samples, by NAME_METRIC.

    A baseline that is worse in `monitor` has none: its bootstrap would take as long as all metrics.
    """
    found: dict[str, Any] = {}
    every, constant = torch.arange(len(test.rows)), task.constant().to(test.rows)
    asked = {name: Answered(every, constant.expand(len(every), -1)) for name in task.baselines} | others
    for name, (positions, rows) in asked.items():
        own, metric = test.rows[positions], name.partition("_")[2]
        if metric == task.monitor:
            scores = [task.score(each, test.target[positions]) for each in (own, rows)]
            if scores[0] == scores[1] or (scores[0] > scores[1]) == (task.directions[metric] == "max"):
                continue
        samples = [data.splits["test"][i] for i in test.positions[positions]]
        interval = paired.beside(type(task), metric, *(answers_table(task, samples, each) for each in (own, rows)))
        found |= {name: list(interval)} if interval else {}
    return found


def write_evaluation(
    run: Run,
    task: Task,
    samples: Sequence[Sample],
    rows: Tensor,
    reader: Reader,
    about: dict[str, Any],
    left_out: Sequence[tuple[Sample, str]] = (),
) -> dict[str, Any]:
    """Write metrics.json, predictions.csv and split.csv of a model on labelled samples, and its page's data.

    Args:
        task: the model's, calibrated.
        rows: the model's outputs (N, ...), in the order of `samples`.
        about: further entries of metrics.json: timing, data, model.
        left_out: samples that were not scored, and why.

    Returns:
        The metrics.
    """
    target = task.encode([sample.label for sample in samples])
    outputs = {"test": Outputs(torch.arange(len(samples)), rows, target)}
    run.write("split", split_table({"test": samples}, left_out))
    return _write(run, outputs, task, samples, reader, {}, about)


def _write(
    run: Run,
    outputs: Mapping[str, Outputs],
    task: Task,
    samples: Sequence[Sample],
    reader: Reader,
    baselines: dict[str, Any],
    about: dict[str, Any],
) -> dict[str, Any]:
    """Write the files that trainings and evaluations share; `samples` and `baselines` are those of test."""
    scored = {split: task.metrics(each.rows, each.target, full=True) for split, each in outputs.items()}
    details = task.details(outputs)
    metrics = {**scored, "test": scored["test"] | baselines, **details.metrics, **about, "versions": versions()}
    answers = answers_table(task, samples, outputs["test"].rows)
    run.write("predictions", answers)
    run.write("metrics", metrics)
    for name, table in details.tables.items():
        run.write(name, table)
    by_name = {sample.name: sample for sample in samples}
    write_previews([by_name[name] for name in task.shown(answers)], run.previews, reader.preview)
    return metrics


def answers_table(task: Task, samples: Sequence[Sample], rows: Tensor) -> pd.DataFrame:
    """Return predictions.csv of labelled samples and a model's outputs for them (N, ...)."""
    return task.table([sample.name for sample in samples], rows, [sample.label for sample in samples])
