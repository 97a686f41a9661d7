"""The callback that runs the epochs of a head on stored features in one thread."""

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from ft_lightning.data.protocol import Data
from ft_lightning.optim import HeadSolver


class OneThread(Callback):
    """Takes one thread while batches are stored features, and all of them while a backbone computes.

    A step of a head takes less time than threads need to meet: several do not make it faster, and where processes
    share a machine, each of them waits for threads that have no core. A solver's single large batch has all threads.
    """

    def __init__(self) -> None:
        self._all = torch.get_num_threads()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._take(trainer, "train")

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._take(trainer, "val")

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.training:
            self._take(trainer, "train")

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._take(trainer, "test")

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        torch.set_num_threads(self._all)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        torch.set_num_threads(self._all)

    def _take(self, trainer: Trainer, split: str) -> None:
        data: Data = trainer.datamodule  # type: ignore[attr-defined]
        solves = split == "train" and isinstance(trainer.optimizers[0], HeadSolver)
        torch.set_num_threads(self._all if data.served(split) is None or solves else 1)
