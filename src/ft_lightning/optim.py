"""Parameter groups and learning-rate schedules."""

import math
from collections.abc import Callable, Iterable
from typing import Any

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, OneCycleLR, ReduceLROnPlateau

from ft_lightning.errors import UserError


def build_optimizer(
    make: Callable[[list[dict[str, Any]]], Optimizer],
    parameters: Iterable[tuple[str, nn.Parameter]],
    backbone_lr_factor: float,
) -> Optimizer:
    """An optimizer over up to four groups: backbone and head, each with and without weight decay.

    Norms and biases, which have one dimension, are not decayed: it would not regularise (He et al., "Bag of Tricks",
    2019).

    Args:
        make: parameter groups -> optimizer; its own lr is the head's, its own weight_decay that of the decayed groups.
        parameters: (name, parameter) of everything that trains; names start with "backbone." or "head.".
        backbone_lr_factor: learning rate of the backbone as a multiple of the head's.
    """
    groups: dict[str, dict[str, Any]] = {}
    for name, parameter in parameters:
        part, undecayed = name.partition(".")[0], parameter.ndim <= 1
        fresh = {"name": f"{part}_no_decay", "weight_decay": 0.0} if undecayed else {"name": part}
        group = groups.setdefault(fresh["name"], {"params": []} | fresh)
        group["params"].append(parameter)
    optimizer = make([groups[name] for name in sorted(groups)])
    for group in optimizer.param_groups:
        group["lr"] *= backbone_lr_factor if group["name"].startswith("backbone") else 1.0
    return optimizer


def constant(optimizer: Optimizer, total_steps: float) -> dict[str, Any]:
    """The same learning rate throughout."""
    return {"scheduler": LambdaLR(optimizer, lambda step: 1.0), "interval": "epoch"}


def cosine(optimizer: Optimizer, total_steps: float, warmup_fraction: float) -> dict[str, Any]:
    """Linear warm-up over the first part of the steps, then half a cosine down to zero (Loshchilov & Hutter, 2017)."""
    total = _finite(total_steps, "cosine")
    warmup = round(warmup_fraction * total)

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warmup) / max(1, total - warmup))))

    return {"scheduler": LambdaLR(optimizer, factor), "interval": "step"}


def onecycle(optimizer: Optimizer, total_steps: float, warmup_fraction: float) -> dict[str, Any]:
    """Up to each group's learning rate and down to nearly zero, momentum the other way round (Smith & Topin, 2018)."""
    peak = [group["lr"] for group in optimizer.param_groups]
    scheduler = OneCycleLR(optimizer, peak, total_steps=_finite(total_steps, "onecycle"), pct_start=warmup_fraction)
    return {"scheduler": scheduler, "interval": "step"}


def plateau(
    optimizer: Optimizer, total_steps: float, factor: float, patience: int, monitor: str, mode: str
) -> dict[str, Any]:
    """Multiply the learning rate by `factor` after `patience` epochs in which the monitored metric did not improve."""
    scheduler = ReduceLROnPlateau(optimizer, mode=mode, factor=factor, patience=patience)
    return {"scheduler": scheduler, "interval": "epoch", "monitor": monitor}


def _finite(total_steps: float, name: str) -> int:
    if not math.isfinite(total_steps):
        raise UserError(f"scheduler={name} needs to know the end of training: set trainer.max_epochs or trainer.max_steps.")
    return int(total_steps)
