"""The callbacks and loggers that a config adds to a Trainer."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from ft_lightning.cli.objects import make
from ft_lightning.system.errors import UserError
from ft_lightning.tasks.registry import task_class

if TYPE_CHECKING:
    from lightning import Callback

# Lightning's own that would change what a run tests, keeps or delivers, and what does the same here.
_UNUSABLE = {
    "BaseFinetuning": "what trains is fixed before training begins; use finetune=partial or finetune=full, with "
    "finetune.k and finetune.backbone_lr_factor",
    "StochasticWeightAveraging": "the weights that it averages would be neither tested nor kept; use callback=ema",
    "ModelPruning": "checkpoints and the model directory would not hold what it leaves of the weights",
    "LearningRateFinder": "it trains before training begins; use tune, which searches optimizer.lr",
    "BatchSizeFinder": "it trains before training begins; set data.batch_size",
}


def callbacks(cfg: DictConfig) -> "list[Callback]":
    """Make those of `callback`; raise UserError for one that a run cannot use."""
    return [_usable(make(cfg, f"callback.{name}"), f"callback.{name}", cfg) for name in cfg.callback]


def _usable(callback: Any, key: str, cfg: DictConfig) -> "Callback":
    from lightning import Callback
    from lightning.pytorch.callbacks import EarlyStopping

    name = type(callback).__name__
    if not isinstance(callback, Callback):
        raise UserError(f"{key}._target_: {name} is no callback of Lightning.")
    for base, instead in _UNUSABLE.items():
        if any(each.__name__ == base for each in type(callback).__mro__):
            raise UserError(f"{key}: a run cannot use {name}: {instead}.")
    metrics = [f"val/{metric}" for metric in task_class(cfg.task.name).directions]
    monitored = getattr(callback, "monitor", None)
    in_training = str(monitored).startswith("train/") and not isinstance(callback, EarlyStopping)
    if isinstance(monitored, str) and monitored not in metrics and not in_training:
        raise UserError(f"{key}.monitor={monitored} is not measured: use one of {', '.join(metrics)}.")
    return callback


def loggers(cfg: DictConfig, run_dir: Path) -> list[Any]:
    """Make those of `logger`, which write into the run's directory."""
    if not cfg.logger:
        return []
    from lightning.pytorch.loggers import Logger

    made = []
    for name in cfg.logger:
        try:
            made.append(make(cfg, f"logger.{name}", Logger, save_dir=str(run_dir)))
        except UserError as error:
            cause: BaseException | None = error
            while cause and not isinstance(cause, ImportError):
                cause = cause.__cause__
            if cause is None:
                raise
            raise UserError(f"logger={name} needs a package: pip install {name} ({cause})") from error
    return made
