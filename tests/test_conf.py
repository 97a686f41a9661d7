"""Every file under conf/ composes, binds to its target's signature, and the choices train together."""

import inspect
from pathlib import Path

import pytest
from hydra.utils import get_method, get_object, instantiate
from omegaconf import DictConfig

from conftest import ROOT, write_pictures
from ft_lightning.backbones import load_backbone
from ft_lightning.cli.compose import CONF, compose
from ft_lightning.system.errors import UserError
from ft_lightning.train import train

FILES = sorted(path.relative_to(CONF).as_posix() for path in CONF.rglob("*.yaml"))
TOP = (
    "train.yaml",
    "tune.yaml",
    "evaluate.yaml",
    "predict.yaml",
    "check.yaml",
    "report.yaml",
    "command.yaml",
    "cache.yaml",
)
CHOICES = [name for name in FILES if name not in TOP]
HYDRA_S = {"_target_", "_partial_", "_convert_"}


def composed(choice: str) -> DictConfig:
    group, name = choice.removesuffix(".yaml").split("/")
    values = {"timm": ["model.name=test_resnet"], "torchvision": ["model.name=resnet18"]}.get(name, [])
    return compose("tune" if group == "tune" else "train", f"{group}={name}", *values)


# Each group of conf/ and the module or room that it points into; None where all of it is a library's or plain values.
GROUPS = {
    "augment": "augment",
    "callback": None,
    "data": "data",
    "experiment": None,
    "finetune": None,
    "head": "heads",
    "logger": None,
    "loss": "loss",
    "mix": "mix",
    "model": "backbones",
    "module": "module",
    "optimizer": "optim",
    "scheduler": "optim",
    "task": "tasks",
    "trainer": None,
    "tune": None,
}


def test_each_group_points_into_one_module_or_room() -> None:
    package = load_backbone.__module__.partition(".")[0]
    assert {Path(choice).parts[0] for choice in CHOICES} == GROUPS.keys()
    for choice in CHOICES:
        group = Path(choice).parts[0]
        targets = [line.split()[1] for line in (CONF / choice).read_text().splitlines() if "_target_:" in line]
        for target in targets:
            if target.startswith(f"{package}."):
                places = {get_object(target).__module__.split(".")[1], target.split(".")[1]} - {"digits"}
                assert places == {GROUPS[group]}, f"{choice}: {target}"


def test_nothing_is_overlooked() -> None:
    assert CONF == ROOT / "conf"
    assert set(TOP) <= set(FILES)
    assert all(len(Path(choice).parts) == 2 for choice in CHOICES), "one folder a group"


@pytest.mark.parametrize("choice", CHOICES)
def test_every_value_binds_to_a_parameter_of_its_target(choice: str) -> None:
    def check(node: DictConfig, where: str) -> None:
        if "_target_" in node:
            target = get_method(node._target_)
            try:
                parameters = inspect.signature(target).parameters
            except ValueError:  # of C code that does not tell, such as timedelta in Python 3.11
                instantiate(node)
                return
            if not any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values()):
                assert {str(key) for key in node} - HYDRA_S <= set(parameters), f"{where}: {node._target_}"
            if target.__module__.startswith("ft_lightning."):
                for key in set(parameters) & {str(key) for key in node}:
                    assert parameters[key].default is inspect.Parameter.empty, f"{where}.{key} has a second default"
        for key, value in node.items_ex(resolve=False):
            if isinstance(value, DictConfig):
                check(value, f"{where}.{key}")

    cfg = composed(choice)
    for group in cfg:
        if isinstance(cfg[group], DictConfig):
            check(cfg[group], str(group))


@pytest.mark.parametrize("choice", FILES)
def test_files_are_short_and_say_what_they_are_for(choice: str) -> None:
    lines = (CONF / choice).read_text().splitlines()
    assert len(lines) <= 35
    assert any("#" in line for line in lines) or len(lines) <= 3


def test_keys_are_the_same_whichever_choice_is_made() -> None:
    for group in ("finetune", "augment", "data", "model", "tune"):
        keys = {tuple(sorted(composed(choice)[group])) for choice in CHOICES if choice.startswith(f"{group}/")}
        assert len(keys) == 1, group


def test_classic_is_the_textbook_to_the_letter() -> None:
    cfg = compose("train", "experiment=classic", "model=resnet50", "data=mydata")
    assert (cfg.model.name, cfg.finetune.mode) == ("resnet50", "frozen")
    assert (cfg.head.name, cfg.head.dropout) == ("linear", 0.0)
    assert (cfg.loss.label_smoothing, cfg.loss.class_weights) == (0.0, "none")
    assert (cfg.optimizer._target_, cfg.optimizer.lr, cfg.optimizer.weight_decay) == ("torch.optim.Adam", 1e-3, 0.0)
    assert cfg.scheduler._target_.endswith(".constant")
    assert (cfg.data.batch_size, cfg.trainer.max_epochs) == (32, 10)
    assert (cfg.augment.crop_scale, cfg.augment.flip, cfg.augment.trivial, cfg.augment.erase) == (None, 0, False, 0)


COMBINATIONS = [
    [f"experiment={path.stem}"] for path in sorted((CONF / "experiment").glob("*.yaml"))
] + [
    ["finetune=frozen", "optimizer=sgd", "scheduler=plateau", "augment=light", "head=mlp"],
    ["finetune=partial", "optimizer=adamw", "scheduler=onecycle", "augment=strong", "loss.class_weights=balanced"],
    ["finetune=full", "optimizer=adam", "scheduler=cosine", "loss.label_smoothing=0.1", "head.dropout=0.2"],
    ["finetune=frozen", "optimizer=lbfgs", "head=mlp", "loss.class_weights=balanced"],
    ["finetune=full", "finetune.freeze_bn=false", "optimizer=sgd", "trainer.gradient_clip_val=1.0"],
]  # fmt: skip


@pytest.mark.parametrize("overrides", COMBINATIONS, ids=" ".join)
def test_the_choices_train_a_batch(overrides: list[str], tmp_path: Path) -> None:
    root = write_pictures(tmp_path / "pictures", {"ant": 6, "bee": 6})
    tiny = ["model=timm", "model.name=test_resnet", "model.weights=null", "trainer.max_epochs=1"]
    (tmp_path / "run").mkdir()
    metrics = train(compose("train", *overrides, *tiny, f"data.root={root}"), tmp_path / "run")
    assert metrics["test"]["n"] > 0


def test_a_value_that_does_not_fit_is_the_user_s(tmp_path: Path) -> None:
    cfg = compose(
        "train", "loss.class_weights=some", "data.limit=3", "model=timm", "model.name=test_resnet", "model.weights=null"
    )
    with pytest.raises(Exception, match=r"loss\.class_weights=some") as raised:
        train(cfg, tmp_path)
    assert isinstance(raised.value, UserError) or isinstance(raised.value.__cause__, UserError)
