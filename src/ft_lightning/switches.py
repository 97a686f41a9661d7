"""Values that are on or off: any text that is not empty would count as on."""

from omegaconf import DictConfig, OmegaConf

from ft_lightning.errors import UserError

SWITCHES = (
    "augment.trivial",
    "cache.enabled",
    "data.allow_leak",
    "data.case_sensitive",
    "finetune.freeze_bn",
    "optimizer.nesterov",
    "scheduler.cycle_momentum",
    "trainer.enable_progress_bar",
)


def check_switches(cfg: DictConfig) -> None:
    """Raise UserError for one that is neither true nor false."""
    for key in SWITCHES:
        value = OmegaConf.select(cfg, key, default=False)
        if not isinstance(value, bool):
            raise UserError(f"{key}={value}: use true or false.")
