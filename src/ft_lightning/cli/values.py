"""Checks config values that would otherwise fail late or be ignored silently."""

from omegaconf import DictConfig, OmegaConf

from ft_lightning.cli.monitor import settle_direction
from ft_lightning.system.errors import UserError

# Boolean keys: any non-empty string would otherwise count as true.
SWITCHES = (
    "augment.trivial",
    "cache.enabled",
    "data.allow_leak",
    "data.case_sensitive",
    "features",
    "finetune.freeze_bn",
    "optimizer.nesterov",
    "scheduler.cycle_momentum",
    "trainer.enable_progress_bar",
)


def check_switches(cfg: DictConfig) -> None:
    """Raise UserError if a boolean key is neither true nor false."""
    for key in SWITCHES:
        value = OmegaConf.select(cfg, key, default=False)
        if not isinstance(value, bool):
            raise UserError(f"{key}={value}: use true or false.")


def check_values(cfg: DictConfig) -> None:
    """Raise UserError for a value that would fail late or be ignored silently."""
    from ft_lightning.heads import HEAD_INITS

    check_switches(cfg)
    if not isinstance(cfg.seed, int):
        raise UserError(f"seed={cfg.seed}: use a whole number.")
    settle_direction(cfg)
    if cfg.head.init not in HEAD_INITS:
        raise UserError(f"head.init={cfg.head.init} is unknown: use one of {', '.join(HEAD_INITS)}.")
    if cfg.finetune.backbone_lr_factor < 0:
        raise UserError(f"finetune.backbone_lr_factor={cfg.finetune.backbone_lr_factor}: use 0 or more.")
    if not isinstance(cfg.repeats, int) or cfg.repeats < 1:
        raise UserError(f"repeats={cfg.repeats}: use a whole number from 1, which trains once.")
    if not isinstance(cfg.checkpoint_minutes, int | float) or cfg.checkpoint_minutes < 0:
        raise UserError(f"checkpoint_minutes={cfg.checkpoint_minutes}: use a number of minutes, 0 or more.")
    for key in ("limit_train_batches", "limit_val_batches", "limit_test_batches"):
        if cfg.trainer[key] == 0:
            raise UserError(f"trainer.{key}=0 leaves nothing to train or to choose the best epoch by: use 1 or more.")


def check_beside_solver(cfg: DictConfig) -> None:
    """Raise UserError for what does not go together with a solver, which takes no steps."""
    if not cfg.scheduler._target_.endswith(".constant"):
        raise UserError(
            "optimizer=lbfgs has no learning rate to schedule: leave scheduler=... out, or say optimizer=adam."
        )
    if OmegaConf.select(cfg, "data.sampler", default="shuffle") != "shuffle":
        raise UserError(
            f"data.sampler={cfg.data.sampler}: optimizer=lbfgs looks at all samples at once; leave it out, or say "
            "loss.class_weights=balanced."
        )
    if cfg.trainer.check_val_every_n_epoch != 1:
        raise UserError("trainer.check_val_every_n_epoch: optimizer=lbfgs chooses among all epochs by val; use 1.")
    if any("WeightAveraging" in callback._target_ for callback in cfg.callback.values()):
        raise UserError("callback=ema averages over steps, but optimizer=lbfgs has one step an epoch: leave one out.")
