"""Callbacks that write checkpoints: of the best epoch, of the last one, and within a long one."""

import time
from pathlib import Path
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, Checkpoint, ModelCheckpoint, WeightAveraging
from torch import Tensor

from ft_lightning.callbacks.epoch_table import EpochTable
from ft_lightning.callbacks.finite import check_monitored
from ft_lightning.runs.checkpoint import BEST, LAST
from ft_lightning.tasks.selection import best_epoch

_CHECK_EVERY = 32  # steps, because synchronising the clock between processes takes time


class BestCheckpoint(ModelCheckpoint):
    """Lightning's, except that the loss on val decides between equal values.

    Args:
        table: the epochs so far, among them those before a run was resumed.
    """

    def __init__(self, table: EpochTable, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.table = table

    @property
    def state_key(self) -> str:
        """Lightning's, because checkpoints of earlier versions hold it."""
        return super().state_key.replace(type(self).__name__, ModelCheckpoint.__name__, 1)

    def check_monitor_top_k(self, trainer: Trainer, current: Tensor | None = None) -> bool:
        """Return whether the epoch that has just ended is the best so far."""
        assert self.monitor
        best, last = best_epoch(self.table.rows, self.monitor, self.mode), self.table.rows[-1]
        if self.monitor in last:  # the epoch was validated
            check_monitored(self.monitor, last[self.monitor], trainer.current_epoch, others=best is not None)
        return trainer.strategy.reduce_boolean_decision(best is not None and best is last)


def best_and_last(folder: Path, monitor: str, mode: str, table: EpochTable) -> tuple[ModelCheckpoint, ModelCheckpoint]:
    """Make the callbacks that write best.ckpt and last.ckpt after each epoch; they come after that of the table."""
    common: dict[str, Any] = {
        "dirpath": folder,
        "save_top_k": 1,
        "save_on_train_epoch_end": True,
        "enable_version_counter": False,
    }
    best = BestCheckpoint(table, filename=Path(BEST).stem, monitor=monitor, mode=mode, **common)
    return best, ModelCheckpoint(filename=Path(LAST).stem, **common)


class WithinEpoch(Checkpoint):
    """Writes last.ckpt within a long epoch too.

    Args:
        minutes: between two checkpoints.
    """

    def __init__(self, folder: Path, minutes: float) -> None:
        self.path = folder / LAST
        self.seconds = 60 * minutes
        self._since = time.monotonic()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._since = time.monotonic()  # last.ckpt has just been written at the end of the previous epoch

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        stepped = (batch_idx + 1) % trainer.accumulate_grad_batches == 0  # checkpoints hold no accumulated gradients
        checks = trainer.world_size == 1 or batch_idx % _CHECK_EVERY == 0
        if not stepped or not checks or trainer.fit_loop.epoch_loop.batch_progress.is_last_batch:
            return
        if trainer.strategy.broadcast(time.monotonic() - self._since > self.seconds):  # by the main process's clock
            trainer.save_checkpoint(self.path)
            self._since = time.monotonic()


def stop_averaging(trainer: Trainer) -> None:
    """Remove `callback=ema`, whose average is in the module by now: it would overwrite the weights of best.ckpt."""
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
    callbacks[:] = [callback for callback in callbacks if not isinstance(callback, WeightAveraging)]
