"""Which values of `monitor` are better, and whether all that refers to it agrees."""

from collections.abc import Mapping
from typing import NamedTuple

from omegaconf import DictConfig

from ft_lightning.system.errors import UserError
from ft_lightning.tasks.registry import task_class

_LOWER_BY_DEFAULT = ("EarlyStopping", "ModelCheckpoint", "plateau")  # whose `mode` is "min" where none is given


class Follower(NamedTuple):
    """A part of the config that compares the values of a metric."""

    key: str  # "" for the whole config
    monitor: str
    mode: str | None
    mode_key: str = "mode"

    def named(self, name: str) -> str:
        return f"{self.key}.{name}".lstrip(".")


def settle_direction(cfg: DictConfig) -> None:
    """Write the direction of `monitor` into `monitor_mode`, to which callbacks and the schedule refer.

    Raise UserError if `monitor_mode`, a callback or the schedule has another direction, or a metric nobody measures.
    """
    measured = {f"val/{name}": better for name, better in task_class(cfg.task.name).directions.items()}
    _check(Follower("", cfg.monitor, cfg.monitor_mode, "monitor_mode"), measured)
    cfg.monitor_mode = cfg.monitor_mode or measured[cfg.monitor]
    measured[cfg.monitor] = cfg.monitor_mode
    if schedule := _follower("scheduler", cfg.scheduler):
        _check(schedule, measured)
    own_module = not cfg.module._target_.endswith(".module.FineTuner")  # which may log further metrics
    measured |= {name.replace("val/", "train/", 1): better for name, better in measured.items()}
    for name, node in cfg.callback.items():
        follower = _follower(f"callback.{name}", node)
        if follower and not (own_module and follower.monitor not in measured):
            _check(follower, measured)


def _follower(key: str, node: DictConfig) -> Follower | None:
    if node.get("monitor") is None:
        return None
    default = "min" if node._target_.rpartition(".")[2] in _LOWER_BY_DEFAULT else None
    return Follower(key, node.monitor, node.get("mode", default))


def _check(follower: Follower, measured: Mapping[str, str | None]) -> None:
    monitor, mode, key = follower.monitor, follower.mode, follower.named(follower.mode_key)
    if monitor not in measured:
        known = ", ".join(name for name in measured if name.startswith("val/"))
        raise UserError(f"{follower.named('monitor')}={monitor} is not measured each epoch: use one of {known}.")
    better = measured[monitor]
    if better is None and mode not in ("max", "min"):
        raise UserError(f"{key}={mode}: nothing says which values of {monitor} are better: use max or min.")
    if better and mode not in (None, better):
        values = "higher" if better == "max" else "lower"
        fix = "leave it out" if not follower.key else f"use {better}"
        raise UserError(f"{key}={mode}: {values} values of {monitor} are better: {fix}.")
