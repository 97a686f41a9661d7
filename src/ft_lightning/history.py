"""metrics.csv: one row an epoch, whatever other loggers a run has."""

from argparse import Namespace
from pathlib import Path
from typing import Any

import pandas as pd
from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities import rank_zero_only

from ft_lightning.tables import write_table


class EpochTable(Logger):
    """Writes the metrics of each epoch as one row of a CSV file.

    Lightning hands over an epoch's validation metrics first and its training metrics last, which completes the row.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self._row: dict[str, float] = {}
        self._rows: list[dict[str, float]] = []

    @property
    def name(self) -> str:
        return ""

    @property
    def version(self) -> str:
        return ""

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """config.yaml has them."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        self._row |= metrics
        if "train/loss" in metrics:
            self._rows.append({"epoch": int(self._row.pop("epoch")), **dict(sorted(self._row.items()))})
            self._row = {}
            write_table(pd.DataFrame(self._rows), self.path)
