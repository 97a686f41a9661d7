"""Parameter groups, learning-rate schedules, and the L2 strengths of the head solver."""

import math
import sys
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, Literal

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, OneCycleLR, ReduceLROnPlateau

from ft_lightning.system.errors import UserError

# From strong L2, best on few images, to hardly any, for many images whose features separate the classes.
STRENGTHS = (1.0, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)


def build_optimizer(
    make: Callable[[list[dict[str, Any]]], Optimizer],
    parameters: Iterable[tuple[str, nn.Parameter]],
    backbone_lr_factor: float,
    undecayed: Collection[str] = (),
) -> Optimizer:
    """Make an optimizer with up to six groups, the head's last: adapters, backbone, head, with and without decay.

    Norms and biases (one dimension) are not decayed, as that would not regularise (He et al., "Bag of Tricks", 2019).
    A parameter with two names is in the group of its first one.

    Args:
        make: parameter groups -> optimizer; its lr is the head's, its weight_decay that of the decayed groups.
        parameters: (name, parameter) of all trainable parameters; names start with "adapters.", "backbone." or
            "head.".
        backbone_lr_factor: learning rate of the backbone and its adapters as a multiple of the head's.
        undecayed: further names without decay, such as the position embeddings in timm's `no_weight_decay()`.
    """
    groups: dict[str, dict[str, Any]] = {}
    placed: set[int] = set()  # by identity: parameters with equal values are still different
    for name, parameter in parameters:
        if id(parameter) in placed:
            continue
        placed.add(id(parameter))
        part = name.partition(".")[0]
        assert part in ("adapters", "backbone", "head"), f"{name} belongs to neither backbone nor head"
        decayed = parameter.ndim > 1 and name not in undecayed
        key = part if decayed else f"{part}_no_decay"
        fresh = {"name": key, "params": []} | ({} if decayed else {"weight_decay": 0.0})
        groups.setdefault(key, fresh)["params"].append(parameter)
    optimizer = make([groups[key] for key in sorted(groups)])
    for group in optimizer.param_groups:
        group["lr"] *= 1.0 if group["name"].startswith("head") else backbone_lr_factor
    return optimizer


class HeadSolver(Optimizer):
    """Sets the L2 strength for which `callbacks.solve_head` solves in each epoch, from strong to weak.

    For Lightning it is an optimizer whose steps change nothing, so that checkpoints, metrics.csv and the choice of the
    best epoch, here of the best strength, work as for any other.

    Args:
        lr: must be None, as the solver has no learning rate.
        weight_decay: one strength or several, tried from strong to weak; None for `STRENGTHS`.
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
        """Set and return the strength of this epoch."""
        self.strength = self.strengths[min(epoch, len(self.strengths) - 1)]
        return self.strength

    def rewind(self) -> None:
        """Reset every parameter to its value at the first call."""
        for group in self.param_groups:
            for parameter in group["params"]:  # in the optimizer's state, so that checkpoints hold it
                start = self.state[parameter].setdefault("start", parameter.detach().clone())
                parameter.data.copy_(start)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Do nothing but call the closure."""
        return closure() if closure else None


def strengths(weight_decay: float | Sequence[float] | None) -> list[float]:
    """Return the L2 strengths that HeadSolver tries, from strong to weak."""
    if weight_decay is None:
        return list(STRENGTHS)
    values = [weight_decay] if isinstance(weight_decay, int | float) else list(weight_decay)
    if not values or not all(isinstance(value, int | float) and value >= 0 for value in values):
        raise UserError(f"optimizer.weight_decay={weight_decay}: use a number from 0, or a list such as [1e-2,1e-4].")
    return sorted(map(float, values), reverse=True)


def setting_of(optimizer: Optimizer) -> tuple[str, float]:
    """Return the name and value of the head's learning rate, or of the solver's L2 strength."""
    if isinstance(optimizer, HeadSolver):
        return "weight_decay", optimizer.strength
    return "lr", optimizer.param_groups[-1]["lr"]  # the head's group comes last


# A schedule takes the optimizer, Lightning's estimate of its steps (infinite if training has no end) and the values
# of its file in conf/scheduler; it returns Lightning's lr_scheduler configuration. The groups' rates keep their ratio.


def constant(optimizer: Optimizer, total_steps: float) -> dict[str, Any]:
    """Keep the learning rate constant."""
    return {"scheduler": LambdaLR(optimizer, lambda step: 1.0), "interval": "epoch"}


def cosine(optimizer: Optimizer, total_steps: float, warmup_fraction: float) -> dict[str, Any]:
    """Warm up linearly over the first steps, then decay to 0 by half a cosine (Loshchilov & Hutter, 2017)."""
    total = _finite(total_steps, "cosine")
    warmup = round(_fraction(warmup_fraction) * total)

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warmup) / max(1, total - warmup))))

    return {"scheduler": LambdaLR(optimizer, factor), "interval": "step"}


def onecycle(optimizer: Optimizer, total_steps: float, warmup_fraction: float, cycle_momentum: bool) -> dict[str, Any]:
    """Rise to each group's learning rate, then fall to nearly 0; momentum does the reverse (Smith & Topin, 2018)."""
    scheduler = OneCycleLR(
        optimizer,
        max_lr=[group["lr"] for group in optimizer.param_groups],
        total_steps=_finite(total_steps, "onecycle"),
        # torch divides by zero if the warm-up takes exactly one step or all of them.
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
    # FineTuner steps it after validation; Lightning would step it after writing the checkpoint, which would lack it.
    return {"scheduler": scheduler, "interval": "epoch", "frequency": sys.maxsize, "monitor": monitor}


def _finite(total_steps: float, name: str) -> int:
    if not 0 <= total_steps < math.inf:  # Lightning estimates inf, or -1 for a dataset without a length
        raise UserError(
            f"scheduler={name} has to know when training ends: set trainer.max_epochs or trainer.max_steps."
        )
    return max(1, int(total_steps))


def _fraction(warmup_fraction: float) -> float:
    if not 0 <= warmup_fraction <= 1:
        raise UserError(f"scheduler.warmup_fraction={warmup_fraction} does not fit: use 0 to 1, for example 0.1.")
    return warmup_fraction
