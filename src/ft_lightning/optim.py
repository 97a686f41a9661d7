"""Parameter groups, learning-rate schedules, and the strengths of the solver that needs neither."""

import math
import sys
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, Literal

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, OneCycleLR, ReduceLROnPlateau

from ft_lightning.system.errors import UserError

# L2 from strong, the best on few images, to hardly any: with images aplenty, on features that separate the classes.
STRENGTHS = (1.0, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)


def build_optimizer(
    make: Callable[[list[dict[str, Any]]], Optimizer],
    parameters: Iterable[tuple[str, nn.Parameter]],
    backbone_lr_factor: float,
    undecayed: Collection[str] = (),
) -> Optimizer:
    """An optimizer over up to four groups, the head's last: backbone and head, each with and without weight decay.

    Norms and biases, which have one dimension, are not decayed: it would not regularise (He et al., "Bag of Tricks",
    2019). A parameter that goes by two names is in the group of its first one.

    Args:
        make: parameter groups -> optimizer; its own lr is the head's, its own weight_decay that of the decayed groups.
        parameters: (name, parameter) of everything that trains; names start with "backbone." or "head.".
        backbone_lr_factor: learning rate of the backbone as a multiple of the head's.
        undecayed: names that are not decayed either, such as the position embeddings in timm's `no_weight_decay()`.
    """
    groups: dict[str, dict[str, Any]] = {}
    placed: set[int] = set()  # by identity: named and valued alike are different parameters
    for name, parameter in parameters:
        if id(parameter) in placed:
            continue
        placed.add(id(parameter))
        part = name.partition(".")[0]
        assert part in ("backbone", "head"), f"{name} is neither of the backbone nor of the head"
        decayed = parameter.ndim > 1 and name not in undecayed
        key = part if decayed else f"{part}_no_decay"
        fresh = {"name": key, "params": []} | ({} if decayed else {"weight_decay": 0.0})
        groups.setdefault(key, fresh)["params"].append(parameter)
    try:
        optimizer = make([groups[key] for key in sorted(groups)])
    except (TypeError, ValueError) as error:
        raise UserError(f"optimizer.* has a value that the optimizer refuses: {error}.") from error
    for group in optimizer.param_groups:
        group["lr"] *= backbone_lr_factor if group["name"].startswith("backbone") else 1.0
    return optimizer


class HeadSolver(Optimizer):
    """Says for which L2 strength `callbacks.solve_head` solves in each epoch, from strong to weak.

    To Lightning it is an optimizer whose steps change nothing: checkpoints, metrics.csv and the choice of the best
    epoch, which here is the choice of the strength, work as for any other.

    Args:
        lr: must be None; it has none.
        weight_decay: the strengths, tried from strong to weak, or one; None for `STRENGTHS`.
    """

    def __init__(
        self, params: list[dict[str, Any]], lr: float | None, weight_decay: float | Sequence[float] | None
    ) -> None:
        if lr is not None:
            raise UserError(
                f"optimizer.lr={lr}: optimizer=lbfgs finds the head's optimum without a learning rate; to train step "
                "by step say optimizer=adam too."
            )
        self.strengths = strengths(weight_decay)
        self.strength = self.strengths[0]
        super().__init__(params, {"lr": 0.0})

    def begin(self, epoch: int) -> float:
        """The strength of this epoch."""
        self.strength = self.strengths[min(epoch, len(self.strengths) - 1)]
        return self.strength

    def rewind(self) -> None:
        """Put every parameter back to where it was when this was first called."""
        for group in self.param_groups:
            for parameter in group["params"]:  # kept as state, which a checkpoint holds
                start = self.state[parameter].setdefault("start", parameter.detach().clone())
                parameter.data.copy_(start)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Nothing is left to do."""
        return closure() if closure else None


def strengths(weight_decay: float | Sequence[float] | None) -> list[float]:
    """The L2 strengths that HeadSolver tries, from strong to weak."""
    if weight_decay is None:
        return list(STRENGTHS)
    values = [weight_decay] if isinstance(weight_decay, int | float) else list(weight_decay)
    if not values or not all(isinstance(value, int | float) and value >= 0 for value in values):
        raise UserError(f"optimizer.weight_decay={weight_decay}: use a number from 0, or a list such as [1e-2,1e-4].")
    return sorted(map(float, values), reverse=True)


def setting_of(optimizer: Optimizer) -> tuple[str, float]:
    """What moves the head in this step: its learning rate, or a solver's L2 strength."""
    if isinstance(optimizer, HeadSolver):
        return "weight_decay", optimizer.strength
    return "lr", optimizer.param_groups[-1]["lr"]  # the head's group comes last


# A schedule takes the optimizer, Lightning's estimate of its steps (infinite when training has no end) and the values
# of its file in conf/scheduler; it gives Lightning's lr_scheduler configuration. The groups' rates keep their ratio.


def constant(optimizer: Optimizer, total_steps: float) -> dict[str, Any]:
    """The same learning rate throughout."""
    return {"scheduler": LambdaLR(optimizer, lambda step: 1.0), "interval": "epoch"}


def cosine(optimizer: Optimizer, total_steps: float, warmup_fraction: float) -> dict[str, Any]:
    """Linear warm-up over the first part of the steps, then half a cosine down to zero (Loshchilov & Hutter, 2017)."""
    total = _finite(total_steps, "cosine")
    warmup = round(_fraction(warmup_fraction) * total)

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warmup) / max(1, total - warmup))))

    return {"scheduler": LambdaLR(optimizer, factor), "interval": "step"}


def onecycle(optimizer: Optimizer, total_steps: float, warmup_fraction: float, cycle_momentum: bool) -> dict[str, Any]:
    """Up to each group's learning rate and down to nearly zero, momentum the other way round (Smith & Topin, 2018)."""
    scheduler = OneCycleLR(
        optimizer,
        max_lr=[group["lr"] for group in optimizer.param_groups],
        total_steps=_finite(total_steps, "onecycle"),
        # torch divides by zero when the way up takes exactly one step or all of them.
        pct_start=_fraction(warmup_fraction) * (1 - 1e-6),
        cycle_momentum=cycle_momentum,
    )
    return {"scheduler": scheduler, "interval": "step"}


def plateau(
    optimizer: Optimizer,
    total_steps: float,
    factor: float,
    patience: int,
    monitor: str,
    mode: Literal["min", "max"],
) -> dict[str, Any]:
    """Multiply the learning rate by `factor` when the monitored metric of val has not improved for more than `patience`
    validations.
    """
    if not 0 < factor < 1:
        raise UserError(f"scheduler.factor={factor} does not reduce the learning rate: use a value between 0 and 1.")
    # eps: the smallest change torch makes; above 0, the group with the smaller rate would stop before the other.
    scheduler = ReduceLROnPlateau(optimizer, mode=mode, factor=factor, patience=patience, eps=0.0)
    # FineTuner steps it when val is done; Lightning would after the checkpoint is written, which then lacks a step.
    return {"scheduler": scheduler, "interval": "epoch", "frequency": sys.maxsize, "monitor": monitor}


def _finite(total_steps: float, name: str) -> int:
    if not 0 <= total_steps < math.inf:  # Lightning says inf, or -1 for a dataset without a length
        raise UserError(
            f"scheduler={name} has to know when training ends: set trainer.max_epochs or trainer.max_steps."
        )
    return max(1, int(total_steps))


def _fraction(warmup_fraction: float) -> float:
    if not 0 <= warmup_fraction <= 1:
        raise UserError(f"scheduler.warmup_fraction={warmup_fraction} does not fit: use 0 to 1, for example 0.1.")
    return warmup_fraction
