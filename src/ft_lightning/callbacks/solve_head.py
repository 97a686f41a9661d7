"""The callback of `optimizer=lbfgs`: solves for the head's optimum in each epoch."""

from typing import TYPE_CHECKING, Any

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from ft_lightning.data.protocol import Data
from ft_lightning.heads import has_one_optimum, solve_head, weighted
from ft_lightning.optim import HeadSolver

if TYPE_CHECKING:
    from ft_lightning.module import FineTuner


class SolveHead(Callback):
    """Solves for the head on all stored features of train, which form the only batch of an epoch.

    The loss of that batch is then the loss at the optimum, and the optimizer's own step changes nothing. Comes after
    `StoredFeatures`, which raises if the features of train are live.
    """

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        data: Data = trainer.datamodule  # type: ignore[attr-defined]
        if stage == "fit" and (rows := data.served("train")) is not None:
            data.serve("train", rows, whole=True)

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: dict[str, Any], batch_idx: int
    ) -> None:
        module: FineTuner = pl_module  # type: ignore[assignment]
        solver, head = trainer.optimizers[0], module.classifier.head
        assert isinstance(solver, HeadSolver)
        l2 = solver.begin(trainer.current_epoch)
        if not has_one_optimum(head):
            solver.rewind()
        solve_head(head, batch["features"], batch["target"], weighted(module.loss, batch.get("weight")), l2)
        if trainer.world_size > 1:  # equal already, except for the last bits on different machines
            for parameter in head.parameters():
                torch.distributed.broadcast(parameter.data, src=0)
