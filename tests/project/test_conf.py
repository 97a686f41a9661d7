"""conf/ of this repository: complete, short, and pointing where it should."""

import inspect
from pathlib import Path

import pytest
from hydra.utils import get_method, get_object
from omegaconf import DictConfig, OmegaConf

from composing import shipped
from conftest import ROOT
from ft_lightning.backbones import load_backbone
from ft_lightning.cli.compose import CONF
from ft_lightning.heads import HEADS
from test_conf import CHOICES, FILES, SHIPPED, TOP, composed

# Each group of conf/ and the module or room that it points into; None where all of it is a library's or plain values.
GROUPS = {
    "augment": "augment",
    "callback": "callbacks",
    "data": "data",
    "experiment": None,
    "finetune": None,
    "head": "heads",
    "logger": "loggers",
    "loss": "loss",
    "mix": "mix",
    "model": "backbones",
    "module": "module language",
    "optimizer": "optim",
    "scheduler": "optim",
    "task": "tasks",
    "trainer": None,
    "tune": None,
}
EQUAL_KEYS = ("augment", "data", "finetune", "model", "tune")


def test_each_group_points_into_one_module_or_room() -> None:
    package = load_backbone.__module__.partition(".")[0]
    assert {Path(choice).parts[0] for choice in CHOICES} == GROUPS.keys()
    for choice in CHOICES:
        group = Path(choice).parts[0]
        targets = [line.split()[1] for line in (CONF / choice).read_text().splitlines() if "_target_:" in line]
        for target in targets:
            if target.startswith(f"{package}."):
                places = {get_object(target).__module__.split(".")[1], target.split(".")[1]} - {"digits"}
                assert len(places) == 1, f"{choice}: {target}"
                assert places <= {*str(GROUPS[group]).split()}, f"{choice}: {target}"


def test_nothing_is_overlooked() -> None:
    assert CONF == ROOT / "conf"
    assert set(TOP) <= set(FILES)
    assert all(len(Path(choice).parts) == 2 for choice in CHOICES), "one folder a group"
    for group, names in SHIPPED.items():
        assert [choice for choice in CHOICES if choice.startswith(f"{group}/")] == [f"{group}/{x}.yaml" for x in names]
    assert SHIPPED["head"] == sorted([*HEADS, "auto"]), "every head has a config; auto chooses among them"


@pytest.mark.parametrize("choice", CHOICES)
def test_a_value_has_its_default_in_conf_alone(choice: str) -> None:
    def check(node: DictConfig, where: str) -> None:
        target = get_method(node._target_) if "_target_" in node else None
        if target and target.__module__.startswith("ft_lightning."):
            parameters = inspect.signature(target).parameters
            for key in set(parameters) & {str(key) for key in node}:
                assert parameters[key].default is inspect.Parameter.empty, f"{where}.{key} has a second default"
        for key, value in node.items_ex(resolve=False):
            if isinstance(value, DictConfig):
                check(value, f"{where}.{key}")

    check(composed(choice), choice)


@pytest.mark.parametrize("choice", FILES)
def test_files_are_short_and_say_what_they_are_for(choice: str) -> None:
    lines = (CONF / choice).read_text().splitlines()
    assert len(lines) <= 35
    assert any("#" in line for line in lines) or len(lines) <= 3


NOT_OF_IMAGES = ("TextDataModule", "InstructionsDataModule", "load_text_backbone")


def test_keys_are_the_same_whichever_choice_is_made() -> None:
    for group in EQUAL_KEYS:
        nodes = [composed(choice)[group] for choice in CHOICES if choice.startswith(f"{group}/")]
        keys: dict[str, set[tuple[str, ...]]] = {}
        for node in nodes:
            target = str(node.get("_target_")).rpartition(".")[2]
            keys.setdefault(target if target in NOT_OF_IMAGES else "", set()).add(tuple(sorted(node)))
        assert {target: len(different) for target, different in keys.items()} == dict.fromkeys(keys, 1), group


def test_what_tests_rely_on_is_what_conf_says() -> None:
    said = {name.removesuffix(".yaml"): OmegaConf.to_container(OmegaConf.load(CONF / name)) for name in FILES}
    assert shipped() == {name: values or {} for name, values in said.items()}, "run python tests/composing.py"
