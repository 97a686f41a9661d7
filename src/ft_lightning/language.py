"""The LightningModule of language models: a step's loss is the mean over all its tokens."""

from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from ft_lightning.module import FineTuner


class LanguageTuner(FineTuner):
    """Trains a language model; see `FineTuner`. For a training of your own, write a subclass of it.

    The loss that an optimizer step minimises is the mean over all tokens that are learnt in it, whatever
    `trainer.accumulate_grad_batches`, padding and the number of processes: a mean of the means of batches would count a
    token of a batch with few answers more than others. Each batch adds the gradients of its sum; they are divided by
    the number of tokens before the step, and before they are clipped.
    """

    _tokens: Tensor | None = None  # learnt since the last optimizer step, by this process

    def counted(self, batch: dict[str, Any], outputs: Tensor) -> Tensor:
        """Return the number of tokens that outputs (B, 3) are sums over, by the weights of their samples."""
        return (outputs[:, 1] * batch.get("weight", 1.0)).sum()

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        loss = super().training_step(batch, batch_idx)
        tokens = self._seen["train"][-1][-1]
        self._tokens = tokens if self._tokens is None else self._tokens + tokens
        return loss * tokens

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        assert self._tokens is not None, "an optimizer step without a batch"
        tokens = torch.as_tensor(self.all_gather(self._tokens)).sum()
        # Lightning has divided by the batches of a step, and by the processes.
        factor = self.trainer.accumulate_grad_batches * self.trainer.world_size / tokens
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.grad.mul_(factor)
        self._tokens = None
