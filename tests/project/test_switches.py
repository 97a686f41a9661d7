"""cli/values.py lists the switches of this repository's conf/, and no others."""

from collections.abc import Iterator

from omegaconf import DictConfig

from ft_lightning.cli.compose import CONF, compose
from ft_lightning.cli.values import SWITCHES

VALUES = {"model/timm": ["model.name=x"], "model/torchvision": ["model.name=x"]}


def switches(node: DictConfig, above: str = "") -> Iterator[str]:
    for name, value in node.items_ex(resolve=False):
        if isinstance(value, DictConfig):
            yield from switches(value, f"{above}{name}.")
        elif isinstance(value, bool):
            yield f"{above}{name}"


def test_every_switch_of_conf_is_looked_at() -> None:
    found = set()
    for verb in ("check", "evaluate", "predict", "report"):
        found |= set(switches(compose(verb)))
    for path in CONF.glob("*/*.yaml"):
        choice = f"{path.parent.name}/{path.stem}"
        verb = "tune" if path.parent.name == "tune" else "train"
        found |= set(switches(compose(verb, choice.replace("/", "="), *VALUES.get(choice, []))))
    others = ("trainer.", "model.", "callback.", "logger.", "tune.space.")  # checked by what takes them
    ours = {key for key in found if not key.startswith(others) and not key.endswith("._partial_")}
    assert ours | {"trainer.enable_progress_bar"} == set(SWITCHES)
