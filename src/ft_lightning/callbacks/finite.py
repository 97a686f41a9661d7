"""Losses of training steps that are not finite: noticed soon, told with the step, its rate and its samples."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from ft_lightning.optim import setting_of
from ft_lightning.system.distributed import gather_objects
from ft_lightning.system.errors import NumericalError

_AT_ONCE = 32  # steps whose losses are looked at together: looking at each would have a GPU wait at each


class _Step(NamedTuple):
    place: str
    setting: str
    loss: Tensor
    samples: Tensor  # (B,), their positions in train


class RecentLosses:
    """The losses since the last look at them."""

    def __init__(self) -> None:
        self._steps: list[_Step] = []

    def add(self, module: Any, loss: Tensor, samples: Tensor, batch_idx: int) -> None:
        """Take a step's loss, and look when there are many.

        Raises:
            NumericalError: as `refuse_non_finite`.
        """
        place = f"step {module.global_step} (epoch {module.current_epoch}, batch {batch_idx})"
        setting, value = setting_of(module.trainer.optimizers[0])
        self._steps.append(_Step(place, f"optimizer.{setting}={value:g}", loss.detach(), samples))
        if len(self._steps) == _AT_ONCE:
            self.refuse_non_finite(module)

    def refuse_non_finite(self, module: Any) -> None:
        """Look at them, in all processes of a run at the same step.

        Raises:
            NumericalError: names the first step of any process whose loss is not finite, and its samples.
        """
        steps, self._steps = self._steps, []
        if not steps:
            return
        finite = torch.stack([step.loss for step in steps]).isfinite().tolist()
        mine = finite.index(False) if not all(finite) else len(steps)
        first = int(torch.as_tensor(module.all_gather(torch.tensor(mine, device=module.device))).min())
        if first == len(steps):
            return
        told = _describe(steps[first], module.trainer.datamodule) if mine == first else None
        raise NumericalError("\n".join(filter(None, gather_objects(told, module.trainer.world_size))))


def _describe(step: _Step, data: Any) -> str:
    name_of = getattr(data, "name_of", lambda split, position: f"sample {position}")
    names = ", ".join(name_of("train", position) for position in step.samples.tolist())
    return (
        f"The training loss of {step.place} is {step.loss.item()} at {step.setting}: use another one, or "
        f"precision=32-true, or look at the batch: {names}."
    )
