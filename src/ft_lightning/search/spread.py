"""How the metrics of several trainings vary."""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from ft_lightning.tasks.task import Outputs, Task

SPLITS = ("val", "test")


def calibrated(task: Task, outputs: Mapping[str, Outputs]) -> Task:
    """Return a training's task, calibrated on its val."""
    return task.calibrate(outputs["val"].rows, outputs["val"].target)


def spread(trainings: Sequence[tuple[Task, Mapping[str, Outputs]]]) -> dict[str, dict[str, dict[str, Any]]]:
    """Return for val and test, for each metric of an epoch: values, mean, sd (of one training).

    Args:
        trainings: the calibrated task and the outputs of each.
    """
    return {
        split: _by_metric([task.metrics(of[split].rows, of[split].target, full=False) for task, of in trainings])
        for split in SPLITS
    }


def _by_metric(trainings: list[dict[str, float]]) -> dict[str, dict[str, Any]]:
    return {name: _statistics([training[name] for training in trainings]) for name in trainings[0]}


def _statistics(values: list[float]) -> dict[str, Any]:
    """Return values, mean and sd; None for what is not defined, as the score of a class that no sample has."""
    known = [value for value in values if math.isfinite(value)]
    return {
        "values": [value if math.isfinite(value) else None for value in values],
        "mean": statistics.fmean(known) if known else None,
        "sd": statistics.stdev(known) if len(known) > 1 else None,
    }
