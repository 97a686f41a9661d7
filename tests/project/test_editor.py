"""What editors, containers, commit hooks and CI are told: true, and the same as what one types."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator
from omegaconf import OmegaConf
from referencing import Registry
from referencing.jsonschema import DRAFT7

from conftest import ROOT, files_below, patience
from ft_lightning.cli.compose import compose
from project.test_conf import EQUAL_KEYS
from test_conf import FILES

SETTINGS = json.loads((ROOT / ".vscode/settings.json").read_text())


def made(root: Path) -> None:
    """`make schemas`, without make."""
    subprocess.run(
        [sys.executable, ".vscode/schemas.py"], cwd=root, check=True, capture_output=True, timeout=patience(120)
    )


def mistakes(file: str, content: Any, root: Path = ROOT) -> list[str]:
    """What an editor would underline in a file of conf/."""
    schemas = {
        path.name: DRAFT7.create_resource(json.loads(path.read_text()))
        for path in (root / ".vscode/schemas").glob("*.json")
    }
    associated = json.loads((root / ".vscode/settings.json").read_text())["yaml.schemas"]
    (name,) = [name for name, files in associated.items() if Path("conf", file).match(files)]
    validator = Draft7Validator(schemas[Path(name).name].contents, registry=Registry().with_resources(schemas.items()))
    if isinstance(content, str):
        content = OmegaConf.to_container(OmegaConf.create(content))
    return [error.message for error in validator.iter_errors(content)]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    for name in ("conf", ".vscode"):
        shutil.copytree(ROOT / name, tmp_path / name)
    return tmp_path


def test_the_schemas_are_those_of_conf(copy: Path) -> None:
    made(copy)
    assert files_below(copy / ".vscode") == files_below(ROOT / ".vscode")
    for name in files_below(copy / ".vscode"):
        assert (copy / ".vscode" / name).read_text() == (ROOT / ".vscode" / name).read_text(), "make schemas"
    assert sum(path.stat().st_size for path in (copy / ".vscode/schemas").iterdir()) < 100_000
    for path in (copy / ".vscode/schemas").iterdir():
        Draft7Validator.check_schema(json.loads(path.read_text()))


def test_groups_whose_keys_are_equal_take_no_others() -> None:
    schemas = {path.stem: json.loads(path.read_text()) for path in (ROOT / ".vscode/schemas").glob("*.json")}
    groups = {Path(file).parts[0] for file in FILES if "/" in file}
    own = {name: schemas[name].get("definitions", {}).get("own", schemas[name]) for name in groups}
    closed = {name for name, schema in own.items() if schema.get("additionalProperties") is False}
    assert closed == set(EQUAL_KEYS)


@pytest.mark.parametrize("file", FILES)
def test_nothing_in_conf_is_underlined(file: str) -> None:
    assert mistakes(file, OmegaConf.to_container(OmegaConf.load(ROOT / "conf" / file))) == []


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("data/mine.yaml", "defaults: [image_folder]\nrot: /images"),
        ("data/mine.yaml", "defaults: [image_foldr]\nroot: /images"),
        ("data/mine.yaml", "batch_size: many"),
        ("data/mine.yaml", "allow_leak: perhaps"),
        ("data/mine.yaml", "on_bad_image: ignore"),
        ("model/mine.yaml", "nam: resnet18"),
        ("augment/mine.yaml", "crop_scale: [small, large]"),
        ("finetune/mine.yaml", "finetune: {mode: partial, blocks: 2}"),
        ("optimizer/mine.yaml", "lr: fast"),
        ("optimizer/mine.yaml", "defaults: [{override /schedule: constant}]"),
        ("tune/mine.yaml", "sampler: gird"),
        ("experiment/mine.yaml", "data: {limt: 6}"),
        ("experiment/mine.yaml", "optimiser: {lr: 0.1}"),
        ("experiment/mine.yaml", "trainer: {max_epochs: few}"),
        ("experiment/mine.yaml", "head: {init: prob}"),
        ("experiment/mine.yaml", "defaults: [{override /data: digitz}]"),
        ("train.yaml", "defaults: [{model: resnet}]"),
        ("train.yaml", "defaults: [_self_, comand]"),
        ("train.yaml", "precision: 64"),
        ("train.yaml", "cache: {enable: false}"),
        ("predict.yaml", "device: cuda1"),
        ("tune.yaml", "tune: {store: null}"),
    ],
)
def test_a_mistake_is_underlined(file: str, content: str) -> None:
    assert mistakes(file, content)


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("data/mine.yaml", ""),
        ("data/mine.yaml", "defaults: [image_folder]\nroot: ${oc.env:IMAGES}\nbatch_size: ???\nnum_workers: 4"),
        ("data/mine.yaml", "create: {_target_: mine.download, _partial_: true, url: x}"),
        ("model/mine.yaml", "defaults: [timm]\nweights: null\narguments: {drop_path_rate: 0.1}"),
        ("finetune/mine.yaml", "finetune: {mode: partial, k: 2, backbone_lr_factor: 1}\ntrainer: {max_epochs: 3}"),
        ("optimizer/mine.yaml", "_target_: timm.optim.Lion\n_partial_: true\nlr: 1e-4\ncautious: true"),
        ("optimizer/mine.yaml", "defaults: [lbfgs]\nweight_decay: [1e-2, 1e-3]"),
        ("module/mine.yaml", "_target_: mine.Distilled\nteacher: ???"),
        ("callback/mine.yaml", "timer: {_target_: lightning.pytorch.callbacks.Timer, duration: 00:08:00:00}"),
        ("trainer/mine.yaml", "defaults: [ddp]\nlimit_train_batches: 0.1\nprofiler: simple\nstrategy: fsdp"),
        (
            "experiment/mine.yaml",
            "defaults: [{override /callback: [early_stopping, ema]}, {override hydra/launcher: submitit_slurm}]\n"
            "checkpoint_minutes: 0.5\nhead: {init: probe}\nhydra: {job: {name: x}}",
        ),
        ("predict.yaml", "device: cuda:3"),
        ("tune.yaml", "tune: {storage: sqlite:///x.db}"),
    ],
)
def test_what_is_right_is_not_underlined(file: str, content: str) -> None:
    assert mistakes(file, content or None) == []


def test_a_key_tells_what_its_comment_does() -> None:
    schema = json.loads((ROOT / ".vscode/schemas/data.json").read_text())["properties"]
    assert schema["split_seed"]["description"] == "another number: another split"
    assert schema["on_bad_image"]["anyOf"][0] == {"enum": ["error", "skip"]}
    choices = json.loads((ROOT / ".vscode/schemas/defaults.json").read_text())["definitions"]["mix"]
    assert choices["anyOf"][0]["enum"] == ["cutmix", "mixup", "none", None]
    assert "none: Images are not mixed." in choices["description"]


def test_files_of_one_s_own_are_taken_in(copy: Path) -> None:
    for name, text in {
        "conf/data/zebras.yaml": "# Zebras.\ndefaults:\n  - image_folder\n\nrot: /zebras\n",
        "conf/data/herd.yaml": "defaults:\n  - image_folder\n\n_target_: zebras.Herd\nherd: 7\n",
        "conf/savanna/dry.yaml": "rain: 0  # millimetres\n",
        "conf/nightly.yaml": "defaults:\n  - train\n  - savanna: dry\n  - _self_\n\nwidth: 3\n",
    }.items():
        (copy / name).parent.mkdir(exist_ok=True)
        (copy / name).write_text(text)
    settings = copy / ".vscode/settings.json"
    settings.write_text(settings.read_text().replace("{\n", '{\n  "editor.rulers": [120],\n', 1))
    made(copy)
    assert json.loads(settings.read_text())["editor.rulers"] == [120]
    assert mistakes("experiment/x.yaml", "defaults: [{override /data: zebras}]", copy) == []
    assert mistakes("data/zebras.yaml", "rot: /zebras", copy), "misspelt before as after"
    assert mistakes("data/herd.yaml", "herd: 8", copy) == []
    assert mistakes("savanna/wet.yaml", "rain: much", copy)
    assert mistakes("nightly.yaml", "savanna: {rain: 2}\nwidth: 4\ndata: {limit: 3}", copy) == []


def test_the_debugger_starts_a_training() -> None:
    (configuration,) = json.loads((ROOT / ".vscode/launch.json").read_text())["configurations"]
    assert configuration["module"] == "ft_lightning.train"
    cfg = compose("train", *configuration["args"])
    assert (cfg.model.name, cfg.model.weights, cfg.data.num_workers) == ("test_resnet", None, 0)


def test_editors_use_the_tools_of_the_environment() -> None:
    assert SETTINGS["python.defaultInterpreterPath"] == "${workspaceFolder}/.venv/bin/python"
    recommended = json.loads((ROOT / ".vscode/extensions.json").read_text())["recommendations"]
    assert {SETTINGS["[python]"]["editor.defaultFormatter"], "redhat.vscode-yaml"} <= set(recommended)


@pytest.mark.skipif(not shutil.which("make"), reason="no make on this machine")
def test_a_container_makes_the_same_environment() -> None:
    container = json.loads((ROOT / ".devcontainer/devcontainer.json").read_text())
    assert "/" not in container["image"], "no registry by name"
    command = [*container["postCreateCommand"].split(), "-n", "-B"]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert ".venv/bin/python -m pip install" in said
    assert "-m venv --clear .venv" in said


def test_git_takes_them() -> None:
    names = [*(f".vscode/{name}" for name in files_below(ROOT / ".vscode")), ".devcontainer/devcontainer.json"]
    done = subprocess.run(["git", "check-ignore", "--no-index", *names], cwd=ROOT, capture_output=True, check=False)
    assert done.stdout == b"" or done.returncode == 128, "not a git checkout"


def test_a_commit_runs_what_make_check_runs_and_ci_the_tests_too() -> None:
    (repo,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert [hook["entry"] for hook in repo["hooks"]] == ["make check"]
    (job,) = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())["jobs"].values()
    assert [step["run"] for step in job["steps"] if "run" in step] == ["make check test"]
