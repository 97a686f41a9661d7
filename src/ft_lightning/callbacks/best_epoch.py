"""Keeps the best epoch in memory, for trainings that leave no files."""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from ft_lightning.callbacks.finite import check_monitored
from ft_lightning.tasks.selection import rank

if TYPE_CHECKING:
    from ft_lightning.module import FineTuner


class BestEpoch(Callback):
    """Keeps the best epoch in memory, as best.ckpt does on disk.

    Args:
        report: called with each epoch and its monitored value; an exception from it ends the training.
        weights: whether to keep the weights for `restore`; they need as much memory as the trainable part.
    """

    def __init__(self, monitor: str, mode: str, report: Callable[[int, float], None], weights: bool) -> None:
        self.monitor, self.mode, self.report, self.weights = monitor, mode, report, weights
        self.epoch = -1
        self.metrics: dict[str, float] = {}  # what val logged in that epoch, such as val/accuracy
        self._now: dict[str, Tensor] = {}
        self._best: dict[str, Tensor] = {}

    @property
    def value(self) -> float:
        """The monitored value of the best epoch."""
        return self.metrics[self.monitor]

    @property
    def rank(self) -> tuple[float, float]:
        """Sort key of the best epoch among those of other trainings: smaller is better."""
        return self._rank(self.metrics)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.weights:  # here, because averaged weights are swapped out after this hook
            module: Any = pl_module
            trained = module.classifier.plan.trained_state(module.classifier.state_dict())
            self._now = {name: value.clone() for name, value in trained.items()}

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn != "fit":
            return
        now = {name: value.item() for name, value in trainer.callback_metrics.items() if name.startswith("val/")}
        others = bool(self.metrics) and math.isfinite(self.value)
        check_monitored(self.monitor, now[self.monitor], trainer.current_epoch, others)
        if not self.metrics or self._rank(now) < self._rank(self.metrics):
            self.epoch, self.metrics, self._best = trainer.current_epoch, now, self._now
        self.report(trainer.current_epoch, now[self.monitor])

    def _rank(self, metrics: dict[str, float]) -> tuple[float, float]:
        return rank(metrics[self.monitor], metrics.get("val/loss"), self.mode)

    def restore(self, module: "FineTuner") -> None:
        """Load the weights of the best epoch into the module."""
        module.classifier.load_state_dict(self._best, strict=False)
