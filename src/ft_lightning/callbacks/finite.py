"""Detects training losses and monitored values that are not finite."""

import logging
import math
from typing import Any, NamedTuple

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from ft_lightning.optim import setting_of
from ft_lightning.system.distributed import Processes
from ft_lightning.system.errors import NumericalError

log = logging.getLogger(__name__)

_CHECK_EVERY = 32  # steps: reading each loss would make a GPU wait at each step


def check_monitored(monitor: str, value: float, epoch: int, others: bool) -> None:
    """Raise NumericalError for a monitored value that is not finite, or warn if another epoch can be chosen.

    Args:
        epoch: counts from 0.
        others: whether an earlier epoch has a finite value.
    """
    if math.isfinite(value):
        return
    said = f"monitor={monitor} is {value} in epoch {epoch + 1}"
    fix = f"Mend the function of {monitor.rpartition('/')[2]}, or monitor something else, such as val/loss."
    if not others:
        raise NumericalError(f"{said}: no epoch can be chosen by it. {fix}")
    log.warning("%s: that epoch is never the best. %s", said, fix)


class _Step(NamedTuple):
    place: str
    setting: str
    loss: Tensor
    samples: Tensor  # (B,), their positions in train


class Finite(Callback):
    """Raises NumericalError soon after a loss that is not finite, in all processes of a run at the same step.

    The error names the first such step of any process, its rate and its samples. All losses so far are checked before
    an epoch is validated and before a checkpoint is written, so that a broken state never replaces an intact one.
    """

    def __init__(self) -> None:
        self._steps: list[_Step] = []
        self._batch: tuple[Tensor, int] = (torch.empty(0), 0)  # its samples' positions, its number in the epoch

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: dict[str, Any], batch_idx: int
    ) -> None:
        self._batch = batch["index"], batch_idx

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:
        samples, batch_idx = self._batch
        place = f"step {trainer.global_step + 1} (epoch {trainer.current_epoch + 1}, batch {batch_idx + 1})"
        setting, value = setting_of(trainer.optimizers[0])
        self._steps.append(_Step(place, f"optimizer.{setting}={value:g}", loss.detach(), samples))
        if len(self._steps) == _CHECK_EVERY:
            self._check(trainer, pl_module)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._check(trainer, pl_module)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._check(trainer, pl_module)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        self._check(trainer, pl_module)

    def _check(self, trainer: Trainer, module: LightningModule) -> None:
        steps, self._steps = self._steps, []
        if not steps:
            return
        finite = torch.stack([step.loss for step in steps]).isfinite().tolist()
        mine = finite.index(False) if not all(finite) else len(steps)
        first = int(torch.as_tensor(module.all_gather(torch.tensor(mine, device=module.device))).min())
        if first == len(steps):
            return
        message = _describe(steps[first], trainer) if mine == first else None
        raise NumericalError("\n".join(filter(None, Processes.of(trainer).gather(message))))


def _describe(step: _Step, trainer: Trainer) -> str:
    data: Any = trainer.datamodule  # type: ignore[attr-defined]
    name = getattr(data, "name_of", None) or (lambda split, position: f"sample {position}")
    names = ", ".join(name("train", position) for position in step.samples.tolist())
    return (
        f"The training loss of {step.place} is {step.loss.item()} at {step.setting}: use another one, or "
        f"precision=32-true, or inspect the batch: {names}."
    )
