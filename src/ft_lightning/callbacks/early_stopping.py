"""Early stopping that counts a lower loss at an equal value as an improvement, as the choice of the best epoch does."""

import math
from typing import Any

from lightning import Trainer
from lightning.pytorch.callbacks import early_stopping

from ft_lightning.tasks.selection import rank


class EarlyStopping(early_stopping.EarlyStopping):
    """Lightning's, with its arguments and its name in checkpoints. `min_delta` holds for the loss too."""

    def __init__(self, monitor: str, mode: str, patience: int, min_delta: float, **others: Any) -> None:
        super().__init__(monitor, mode=mode, patience=patience, min_delta=min_delta, **others)
        self.best_loss = math.inf  # on val, of the best epoch

    def _run_early_stopping_check(self, trainer: Trainer) -> None:
        now = {name: value.item() for name, value in trainer.callback_metrics.items()}
        loss = now.get("val/loss")
        value, least = rank(now.get(self.monitor), loss, self.mode)
        best, lowest = rank(self.best_score.item(), self.best_loss, self.mode)
        if value == best < math.inf and least < lowest - abs(self.min_delta):
            self.best_loss, self.wait_count = least, 0
            return
        super()._run_early_stopping_check(trainer)
        if self.wait_count == 0 and loss is not None:  # a better value
            self.best_loss = loss

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"best_loss": self.best_loss}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self.best_loss = state_dict.get("best_loss", -math.inf)  # unknown in checkpoints of Lightning's: none is lower
