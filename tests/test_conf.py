"""Every file under conf/ composes, binds to its target's signature, and the choices train together."""

import functools
import inspect
from pathlib import Path

import pytest
from hydra.utils import get_method, instantiate
from omegaconf import DictConfig

from composing import composed_as_it_is
from conftest import write_pictures
from ft_lightning.cli.compose import CONF, compose
from ft_lightning.system.errors import UserError
from ft_lightning.train import train

FILES = sorted(path.relative_to(CONF).as_posix() for path in CONF.rglob("*.yaml"))
# What is tried out with everything else; in a clone there may be more.
SHIPPED = {
    "augment": ["light", "none", "strong"],
    "experiment": ["classic", "debug", "instruct", "text"],
    "head": ["auto", "linear", "mlp", "none"],
    "mix": ["cutmix", "mixup", "none"],
    "optimizer": ["adam", "adamw", "adamw_decayed", "lbfgs", "sgd"],
    "scheduler": ["constant", "cosine", "onecycle", "plateau"],
}
TOP = (
    "train.yaml",
    "tune.yaml",
    "evaluate.yaml",
    "predict.yaml",
    "check.yaml",
    "report.yaml",
    "export.yaml",
    "command.yaml",
    "cache.yaml",
)
CHOICES = [name for name in FILES if name not in TOP]
HYDRA_S = {"_target_", "_partial_", "_convert_"}


@functools.cache
def keys_of(verb: str) -> set[str]:
    return set(map(str, compose(verb)))


def composed(choice: str) -> DictConfig:
    group, _, name = choice.removesuffix(".yaml").partition("/")
    values = {"timm": ["model.name=test_resnet"], "torchvision": ["model.name=resnet18"]}.get(name, [])
    verb = "tune" if group == "tune" else "train"
    chosen = f"{group}={name}" if group in keys_of(verb) or group == "experiment" else f"+{group}={name}"
    return compose(verb, chosen, *values)


@pytest.mark.parametrize("choice", ["train.yaml", *CHOICES])
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
        for key, value in node.items_ex(resolve=False):
            if isinstance(value, DictConfig):
                check(value, f"{where}.{key}")

    with composed_as_it_is():
        cfg = compose("train") if choice == "train.yaml" else composed(choice)
    for group in cfg:
        if isinstance(cfg[group], DictConfig):
            check(cfg[group], str(group))


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
    [f"experiment={name}"] for name in SHIPPED["experiment"] if name not in ("text", "instruct")
] + [
    ["finetune=frozen", "optimizer=sgd", "scheduler=plateau", "augment=light", "head=mlp"],
    ["finetune=partial", "optimizer=adamw", "scheduler=onecycle", "augment=strong", "loss.class_weights=balanced"],
    ["finetune=full", "optimizer=adam", "scheduler=cosine", "loss.label_smoothing=0.1", "head.dropout=0.2"],
    ["finetune=frozen", "optimizer=lbfgs", "head=mlp", "loss.class_weights=balanced"],
    ["finetune=frozen", "optimizer=adamw", "head=auto", "scheduler=onecycle", "folds=3"],
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
    tiny = ["model=timm", "model.name=test_resnet", "model.weights=null", "data=digits", "data.limit=3"]
    cfg = compose("train", "loss.class_weights=some", *tiny)
    with pytest.raises(Exception, match=r"loss\.class_weights=some") as raised:
        train(cfg, tmp_path)
    assert isinstance(raised.value, UserError) or isinstance(raised.value.__cause__, UserError)
