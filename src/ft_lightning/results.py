"""What a run found: predictions.csv and metrics.json."""

import json
import os
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

ALL_CLASSES_UP_TO = 100  # above, a table lists the most probable classes only
TOP = 10


class Stopwatch:
    """Seconds by phase; a lap ends the phase that is named."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._start = self._last = time.perf_counter()

    def lap(self, phase: str) -> None:
        now = time.perf_counter()
        self.seconds[phase] = now - self._last
        self._last = now
        self.seconds["total_s"] = now - self._start


def prediction_table(names: list[str], logits: Tensor, class_names: list[str], temperature: float = 1.0) -> pd.DataFrame:
    """One row a sample: path, predicted class and its probability, then p(class) for each class.

    Above 100 classes the ten most probable are listed instead, as class_1, p_1 ... class_10, p_10.

    Args:
        logits: (N, C), in the order of `names`.
    """
    probabilities = (logits.double() / temperature).softmax(1)
    best, predicted = probabilities.max(1)
    columns: dict[str, Any] = {
        "path": names,
        "predicted": [class_names[i] for i in predicted],
        "probability": best.numpy(),
    }
    if len(class_names) <= ALL_CLASSES_UP_TO:
        columns |= {f"p({name})": probabilities[:, i].numpy() for i, name in enumerate(class_names)}
    else:
        values, order = probabilities.topk(TOP)
        for rank in range(TOP):
            columns[f"class_{rank + 1}"] = [class_names[i] for i in order[:, rank]]
            columns[f"p_{rank + 1}"] = values[:, rank].numpy()
    return pd.DataFrame(columns)


def versions() -> dict[str, str]:
    """The installed versions of what shapes a result."""
    packages = ("ft_lightning", "torch", "torchvision", "lightning", "torchmetrics", "timm", "pillow")
    return {package: version(package) for package in packages}


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write JSON so that a reader finds the whole file or none."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_text(json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
    temporary.replace(path)
