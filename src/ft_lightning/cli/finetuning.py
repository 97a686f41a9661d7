"""The keys of `finetune`: what fits together, and the classifier that trains as they say."""

from typing import TYPE_CHECKING

from omegaconf import DictConfig, ListConfig

from ft_lightning.system.errors import UserError

if TYPE_CHECKING:
    from torch import nn

    from ft_lightning.backbones.backbone import Backbone
    from ft_lightning.lora import Adapters
    from ft_lightning.model import Classifier

_OF_ADAPTERS = ("rank", "alpha", "targets", "dropout", "rank_stabilised")


def check_finetune(cfg: DictConfig) -> None:
    """Raise UserError for a key of adapters without adapters, and for adapters that lack one."""
    mode = cfg.finetune.mode
    for key in _OF_ADAPTERS:
        value = cfg.finetune[key]
        if mode != "lora" and value is not None:
            raise UserError(f"finetune.{key}={value} has no meaning for finetune={mode}: say finetune=lora too.")
        if mode == "lora" and value is None:
            raise UserError(f"finetune.{key}=null: finetune=lora needs a value; see conf/finetune/lora.yaml.")
    if cfg.finetune.alpha == 0:
        raise UserError("finetune.alpha=0: use a number above 0, as adapters count alpha / rank times.")


def classifier(cfg: DictConfig, backbone: "Backbone", head: "nn.Module") -> "Classifier":
    """Join a backbone, with adapters if it is to have them, and a head under the freeze plan."""
    from ft_lightning.finetune import freeze_plan
    from ft_lightning.model import Classifier

    adapters = _adapters(cfg, backbone) if cfg.finetune.mode == "lora" else None
    names = [name for name, _ in adapters.named_parameters()] if adapters else []
    plan = freeze_plan(backbone, head, cfg.finetune.mode, cfg.finetune.k, cfg.finetune.freeze_bn, names)
    return Classifier(backbone, head, plan, adapters)


def _adapters(cfg: DictConfig, backbone: "Backbone") -> "Adapters":
    from ft_lightning.lora import Adapters, adapt

    targets = cfg.finetune.targets
    adapters = Adapters(
        rank=cfg.finetune.rank,
        alpha=cfg.finetune.alpha,
        targets=list(targets) if isinstance(targets, ListConfig) else targets,
        dropout=cfg.finetune.dropout,
        rank_stabilised=cfg.finetune.rank_stabilised,
    )

    def run() -> object:
        return backbone(backbone.prepare(backbone.example(1)))

    return adapt(backbone.network, backbone.blocks, run, backbone.identity.name, adapters)
