"""A progress bar for epochs that may be faster than the terminal."""

import time
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import RichProgressBar
from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Column

_SECONDS = 0.1  # between two refreshes


class EpochBar(RichProgressBar):
    """Lightning's bar, drawn ten times a second: a refresh takes longer than a step on stored features.

    It counts epochs from one, and is a single line in a terminal of 80 columns.
    """

    def __init__(self) -> None:
        super().__init__()
        self._drawn = 0.0

    def refresh(self, hard: bool = False) -> None:
        if hard or time.monotonic() - self._drawn > _SECONDS:
            self._drawn = time.monotonic()
            super().refresh(hard)

    def configure_columns(self, trainer: Trainer) -> list[ProgressColumn]:
        def whole() -> Column:
            return Column(no_wrap=True)

        return [
            TextColumn("{task.description}"),
            BarColumn(),  # alone gives way
            MofNCompleteColumn(table_column=whole()),
            TimeRemainingColumn(elapsed_when_finished=True, table_column=whole()),
        ]

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        return {name: value for name, value in super().get_metrics(trainer, pl_module).items() if name != "v_num"}

    def _init_progress(self, trainer: Trainer) -> None:
        super()._init_progress(trainer)
        if self._metric_component is not None:
            self._metric_component._table_column = Column(no_wrap=True)

    def _get_train_description(self, current_epoch: int) -> str:
        last = self.trainer.max_epochs
        described = f"Epoch {current_epoch + 1}" + (f"/{last}" if last and last > 0 else "")
        return described.ljust(len(self.validation_description))
