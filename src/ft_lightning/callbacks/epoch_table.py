"""Writes metrics.csv, one row an epoch, whatever loggers a run has."""

from pathlib import Path
from typing import Any

import pandas as pd
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

from ft_lightning.system.tables import write_table


class EpochTable(Checkpoint):
    """Writes what the module logs in each epoch as one row of a CSV file.

    It is a `Checkpoint`, because Lightning calls those last in an epoch. It comes before the others, so that a
    checkpoint holds all rows so far and a resumed run keeps them.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[dict[str, float]] = []
        self._val: dict[str, float] = {}

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._val = _logged(trainer, "val/")

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        logged = _logged(trainer, "train/") | self._val
        self.rows.append({"epoch": trainer.current_epoch, **dict(sorted(logged.items()))})
        self._val = {}  # the next epoch may have no validation
        if trainer.is_global_zero:
            write_table(pd.DataFrame(self.rows), self.path)

    def state_dict(self) -> dict[str, Any]:
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.rows = state_dict["rows"]


def _logged(trainer: Trainer, prefix: str) -> dict[str, float]:
    values = trainer.callback_metrics
    return {name: value.item() for name, value in values.items() if name.startswith(prefix)}
