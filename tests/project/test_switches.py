"""The switches of this repository's conf/ are true or false: any other text would count as true."""

from collections.abc import Iterator

import pytest
from omegaconf import DictConfig

from ft_lightning.cli.compose import CONF, compose
from ft_lightning.cli.values import check_kinds
from ft_lightning.system.errors import UserError

VALUES = {"model/timm": ["model.name=x"], "model/torchvision": ["model.name=x"]}


def switches(node: DictConfig, above: str = "") -> Iterator[str]:
    for name, value in node.items_ex(resolve=False):
        if isinstance(value, DictConfig):
            yield from switches(value, f"{above}{name}.")
        elif isinstance(value, bool):
            yield f"{above}{name}"


def test_every_switch_of_conf_takes_only_true_and_false() -> None:
    refused = set()
    choices = [path.relative_to(CONF).with_suffix("").as_posix() for path in CONF.glob("*/*.yaml")]
    commands = [(verb, "") for verb in ("check", "evaluate", "export", "predict", "report")]
    commands += [("tune" if choice.startswith("tune/") else "train", choice) for choice in choices]
    for verb, choice in commands:
        typed = [*([choice.replace("/", "=")] if choice else []), *VALUES.get(choice, [])]
        for key in switches(compose(verb, *typed)):
            if key in refused or key.startswith("tune.space.") or key.endswith("._partial_"):
                continue
            cfg = compose(verb, *typed, f"{key}=off")
            with pytest.raises(UserError, match=f"{key}=off: use (true or )?false"):
                check_kinds(cfg)
            refused.add(key)
    assert {"cache.enabled", "data.allow_leak", "features", "optimizer.nesterov", "trainer.deterministic"} <= refused
