"""The keys of finetune=lora, and the adapters that they describe."""

from typing import TYPE_CHECKING

from omegaconf import DictConfig, ListConfig

from ft_lightning.system.errors import UserError

if TYPE_CHECKING:
    from ft_lightning.backbones.backbone import Backbone
    from ft_lightning.lora import Adapters

_KEYS = ("rank", "alpha", "targets", "dropout")


def check_adapters(cfg: DictConfig) -> None:
    """Raise UserError for a key of adapters without adapters, and for adapters that lack one."""
    mode = cfg.finetune.mode
    for key in _KEYS:
        value = cfg.finetune[key]
        if mode != "lora" and value is not None:
            raise UserError(f"finetune.{key}={value} has no meaning for finetune={mode}: say finetune=lora too.")
        if mode == "lora" and value is None:
            raise UserError(f"finetune.{key}=null: finetune=lora needs a value; see conf/finetune/lora.yaml.")
    if cfg.finetune.alpha == 0:
        raise UserError("finetune.alpha=0: use a number above 0, as adapters count alpha / rank times.")


def adapters(cfg: DictConfig, backbone: "Backbone") -> "Adapters | None":
    """Put the adapters of finetune=lora into a backbone; None for other modes."""
    if cfg.finetune.mode != "lora":
        return None
    from ft_lightning.lora import adapt

    targets = cfg.finetune.targets
    return adapt(
        backbone.network,
        backbone.blocks,
        lambda: backbone(backbone.prepare(backbone.example(1))),
        backbone.identity.name,
        rank=cfg.finetune.rank,
        alpha=cfg.finetune.alpha,
        targets=list(targets) if isinstance(targets, ListConfig) else targets,
        dropout=cfg.finetune.dropout,
    )
