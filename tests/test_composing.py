"""What tests compose is what Hydra composes from the values that they rely on, whatever a project makes of conf/."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import yaml
from hydra.errors import HydraException
from omegaconf import OmegaConf

import composing
from composing import composed_as_it_is, composed_once, own_keys, shipped
from conftest import ROOT
from ft_lightning.cli import compose as compose_module
from ft_lightning.cli.compose import CONF, compose, compose_with_hydra

WORDS = [
    [],
    ["seed=3", "optimizer.lr=1e-3"],
    ["optimizer=sgd", "model=timm", "model.name=test_resnet", "seed=4"],
    ["seed=5", "model=timm", "optimizer=sgd", "model.name=test_vit", "+trainer.max_time=null"],
    ["callback=[early_stopping,ema]", "~scheduler.warmup_fraction", "optimizer={lr:2.0}"],
    ["+tune=head", "experiment=classic", "finetune=partial"],
    ["optimizer=none_such"],
    ["no.such.key=1"],
]


def composed(words: list[str]) -> str:
    try:
        return OmegaConf.to_yaml(compose_with_hydra("train", words))
    except HydraException as error:
        return str(error)


@pytest.mark.parametrize("words", WORDS, ids=" ".join)
def test_a_copy_is_what_hydra_composes(words: list[str]) -> None:
    with mock.patch("composing._looks_into_conf_alone", return_value=False):
        hydra_s = composed(words)
    assert composed(words) == composed(words) == hydra_s


OTHERS = {"model": "resnet18", "data": "mydata", "optimizer": "sgd", "trainer": "ddp", "task": "regression"}


def otherwise(value: Any) -> Any:
    """Something else, and a key more."""
    if isinstance(value, dict):
        return {key: otherwise(each) for key, each in value.items()} | {"of_one_s_own": 1}
    return "something else" if isinstance(value, str) else 7


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """conf/ with other values in each file, other choices, and a group of one's own."""
    for path in CONF.rglob("*.yaml"):
        text = path.read_text(encoding="utf-8")
        said = yaml.safe_load(text) or {}
        same = said if path.relative_to(CONF).with_suffix("").as_posix() not in shipped() else ("defaults", "hydra")
        values = {key: value if key in same else otherwise(value) for key, value in said.items()}
        if path == CONF / "train.yaml":
            chosen = [
                {group: OTHERS.get(group, name) for group, name in each.items()} if isinstance(each, dict) else each
                for each in said["defaults"]
            ]
            values |= {"defaults": [{"steppe": "dry"}, *chosen], "of_one_s_own": 1}
        (tmp_path / "conf" / path.relative_to(CONF)).parent.mkdir(exist_ok=True, parents=True)
        header = "".join(re.findall("# @package .*\n", text))
        (tmp_path / "conf" / path.relative_to(CONF)).write_text(header + json.dumps(values))
    (tmp_path / "conf/steppe").mkdir()
    (tmp_path / "conf/steppe/dry.yaml").write_text("rain: 0")
    return tmp_path


def shipped_alone(node: Any) -> Any:
    if not isinstance(node, dict):
        return node
    return {key: shipped_alone(each) for key, each in node.items() if key not in ("of_one_s_own", "steppe")}


@pytest.mark.parametrize(
    ("verb", "words"),
    [
        *(("train", words) for words in WORDS[:6]),
        ("tune", []),
        ("tune", ["tune=backbone"]),
        ("check", []),
        ("evaluate", []),
    ],
    ids=str,
)
def test_tests_compose_the_same_in_a_project_that_has_changed_conf(
    verb: str, words: list[str], project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = OmegaConf.to_container(compose(verb, *words))
    monkeypatch.chdir(project)  # where conf/ is searched first
    for module in (compose_module, composing):
        monkeypatch.setattr(module, "CONF", project / "conf")
    with composed_once():
        there = OmegaConf.to_container(compose(verb, *words))
        assert isinstance(there, dict)
        assert {"~of_one_s_own", "~steppe"} <= set(own_keys())
    assert shipped_alone(there) == shipped_alone(before)
    assert ("steppe" in there) == (verb in ("train", "tune")), "what is one's own is there"
    if verb == "train" and not words:
        with composed_as_it_is():
            assert compose("train").model.name == "something else"
    for path in (project / "conf").glob("*/*.yaml"):
        if path.parent.name != "steppe":
            path.unlink()
    with composed_once():
        assert OmegaConf.to_container(compose(verb, *words)) == there, "files that were deleted are there for tests"


def test_processes_that_are_started_compose_it_too(project: Path) -> None:
    package = Path(compose_module.__file__).parents[1]
    shutil.copytree(package, project / "src" / package.name)
    script = f"from {compose.__module__} import compose; print(compose('train').model.name)"
    for path, said in ([ROOT / "tests"], compose("train").model.name), ([], "something else"):
        where = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, [*path, project / "src"]))}
        command = [sys.executable, "-c", script]
        assert (
            subprocess.run(command, env=where, cwd=project, capture_output=True, text=True, check=True).stdout
            == f"{said}\n"
        )
