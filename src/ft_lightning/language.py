"""The LightningModule of language models: a step's loss is the mean over all its tokens."""

from collections.abc import Sequence
from typing import Any, ClassVar

import pandas as pd
import torch
from torch import Tensor
from torch.optim import Optimizer

from ft_lightning.module import FineTuner
from ft_lightning.tasks.task import Details

Curve = Sequence[tuple[float, float]]  # tokens learnt so far, and the loss of those since the point before
_POINTS = 40  # of an epoch
_FEWEST = 1e-9  # tokens of a step, where weights of zero leave none


class LanguageTuner(FineTuner):
    """Trains a language model; see `FineTuner`. For a training of your own, write a subclass of it.

    The loss that an optimizer step minimises is the mean over all tokens that are learnt in it, whatever
    `trainer.accumulate_grad_batches`, padding and the number of processes: a mean of the means of batches would count a
    token of a batch with few answers more than others. Each batch adds the gradients of its sum; they are divided by
    the number of tokens before the step, and before they are clipped.
    """

    counts: ClassVar[str] = "tokens"
    _tokens: Tensor | None = None  # learnt since the last optimizer step, by this process
    _curve: Curve = ()  # of all epochs

    def counted(self, batch: dict[str, Any], outputs: Tensor) -> Tensor:
        """Return the number of tokens that outputs (B, 3) are sums over, by the weights of their samples."""
        return (outputs[:, 1] * batch.get("weight", 1.0)).sum()

    def on_train_epoch_end(self) -> None:
        # Of this process alone, for a figure: the others have as many tokens, but for a few.
        sums = torch.stack([torch.stack(step) for step in self._seen["train"]]).cpu()  # (steps, 3): loss, right, tokens
        self._curve = [*self._curve, *_points(sums, self._curve, self.trainer.world_size)]
        super().on_train_epoch_end()

    def details(self) -> Details:
        return Details({}, {"curve": pd.DataFrame(self._curve, columns=["tokens", "loss"])})

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        checkpoint["curve"] = list(self._curve)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        if self.trainer.state.fn == "fit":
            self._curve = list(checkpoint.get("curve", ()))

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        loss = super().training_step(batch, batch_idx)
        tokens = self._seen["train"][-1][-1]
        self._tokens = tokens if self._tokens is None else self._tokens + tokens
        return loss * tokens

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        assert self._tokens is not None, "an optimizer step without a batch"
        tokens = torch.as_tensor(self.all_gather(self._tokens)).sum()
        # Lightning has divided by the batches of a step, and by the processes.
        factor = self.trainer.accumulate_grad_batches * self.trainer.world_size / tokens.clamp(min=_FEWEST)
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.grad.mul_(factor)
        self._tokens = None


def _points(sums: Tensor, before: Curve, processes: int) -> Curve:
    """Return some points of an epoch's curve, of the sums of its steps (S, 3): loss, right, tokens."""
    start = before[-1][0] if before else 0.0
    parts = sums.double().tensor_split(min(_POINTS, len(sums)))
    added = torch.stack([part.sum(0) for part in parts])
    tokens = (start + processes * added[:, 2].cumsum(0)).tolist()
    return list(zip(tokens, (added[:, 0] / added[:, 2]).tolist(), strict=True))
