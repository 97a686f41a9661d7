"""What `head=auto` compares, and what it needs."""

from omegaconf import DictConfig

from ft_lightning.cli.compose import compose
from ft_lightning.cli.solver import solves_head
from ft_lightning.system.errors import UserError

CANDIDATES = ("linear", "mlp")  # the simpler first: it is taken where val cannot tell them apart
INSTEAD = f"use {' or '.join(f'head={name}' for name in CANDIDATES)}"


def is_auto(cfg: DictConfig) -> bool:
    """Return whether val is to choose the head."""
    return cfg.head.get("name") == "auto"


def check_auto(cfg: DictConfig) -> None:
    """Raise UserError if val is to choose a head where heads have no features to be compared on."""
    if is_auto(cfg) and cfg.finetune.mode != "frozen":
        raise UserError(
            f"head=auto compares heads on stored features, but finetune={cfg.finetune.mode} trains the backbone: "
            f"{INSTEAD}."
        )


def with_head(cfg: DictConfig, name: str) -> DictConfig:
    """Return a config of `head=auto` with one of the candidates in its place: a linear head is solved for."""
    own = cfg.copy()
    if name == "mlp":
        own.head.name = name
        return own
    made = compose("train", f"head={name}", "optimizer=lbfgs")
    own.head = made.head
    own.head.init = cfg.head.init
    if not solves_head(cfg):
        own.optimizer, own.scheduler = made.optimizer, made.scheduler
    return own
