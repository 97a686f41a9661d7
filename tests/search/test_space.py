"""Spaces of conf/tune and of the command line become distributions, and values what one would type."""

import math
from typing import Any

import optuna
import pytest
from omegaconf import OmegaConf
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from conftest import ROOT
from ft_lightning.cli.compose import compose
from ft_lightning.search.space import grid, held, overrides, read_space, suggest
from ft_lightning.system.errors import UserError


def test_every_kind_of_distribution() -> None:
    space = read_space(
        {
            "optimizer": {"choices": ["adam", "sgd"], "lr": {"low": 1e-4, "high": 1e-1, "log": True}},
            "finetune": {"k": {"low": 1, "high": 4}},
            "head": {"dropout": {"low": 0.0, "high": 0.5, "step": 0.1}, "init": None},
            "augment": {"crop_scale": {"choices": [[0.2, 1.0], None]}},
            "model": {"arguments": {"choices": [{"rate": 0.1, "act": "a b"}]}},
        }
    )
    assert space == {
        "optimizer": CategoricalDistribution(["adam", "sgd"]),
        "optimizer.lr": FloatDistribution(1e-4, 1e-1, log=True),
        "finetune.k": IntDistribution(1, 4),
        "head.dropout": FloatDistribution(0.0, 0.5, step=0.1),
        "model.arguments": CategoricalDistribution(['{rate:0.1,act:"a b"}']),
        "augment.crop_scale": CategoricalDistribution(["[0.2,1.0]", None]),
    }


@pytest.mark.parametrize(
    ("space", "said"),
    [
        ({}, "tune.space is empty"),
        ({"optimizer": {"lr": None}}, "tune.space is empty"),
        ({"optimizer": {"lr": 0.1}}, r"tune\.space\.optimizer\.lr=0\.1: use choices, or low and high"),
        ({"optimizer": {"lr": {"low": 0.1}}}, r"tune\.space\.optimizer\.lr=.*'high'"),
        ({"optimizer": {"lr": {"low": 0.2, "high": 0.1}}}, r"tune\.space\.optimizer\.lr="),
        ({"optimizer": {"lr": {"low": 0.0, "high": 0.1, "log": True}}}, r"tune\.space\.optimizer\.lr="),
        ({"optimizer": {"lr": {"low": "a", "high": 0.1}}}, r"tune\.space\.optimizer\.lr="),
        ({"model": {"choices": []}}, r"tune\.space\.model="),
        ({"model": {"choices": "resnet18"}}, r"tune\.space\.model=.*choices is a list"),
        ({"model": {"choices": ["a,"]}}, r"tune\.space\.model: the choice a, is not a valid override"),
        ("optimizer.lr", r"tune\.space=optimizer\.lr: name keys"),
        ({"model": {"choices": ["a"], "low": 1}}, r"tune\.space\.model=.*without low"),
        ({"optimizer": {"lr": {"low": 0.1, "high": 1.0, "log": "yes"}}}, r"optimizer\.lr=.*log is true or false"),
        ({"optimizer": {"lr": {"low": 0.0, "high": math.inf}}}, r"optimizer\.lr=.*low and high are finite numbers"),
        ({"optimizer": {"lr": {"low": math.nan, "high": 1.0}}}, r"optimizer\.lr=.*low and high are finite numbers"),
        ({"optimizer": {"lr": {"low": False, "high": 1.0}}}, r"optimizer\.lr=.*low and high are finite numbers"),
        ({"k": {"low": 0.0, "high": 1e30, "step": 1e-3}}, r"tune\.space\.k=.*high - low is too many steps"),
        ({"k": {"low": 0, "high": 10**20, "step": 0}}, r"tune\.space\.k="),
    ],
)  # fmt: skip
def test_what_is_no_distribution_is_refused_by_its_key(space: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        read_space(space)


def test_values_as_one_would_type_them() -> None:
    values = {
        "model": "timm model.name=convnext_atto +model.arguments.drop_path_rate=0.1",
        "optimizer.lr": 1e-5,
        "finetune.k": 2,
        "finetune.freeze_bn": False,
        "trainer.gradient_clip_val": None,
        "augment.crop_scale": "[0.2, 1.0]",
    }
    assert overrides(values) == [
        "model=timm",
        "model.name=convnext_atto",
        "+model.arguments.drop_path_rate=0.1",
        "optimizer.lr=1e-05",
        "finetune.k=2",
        "finetune.freeze_bn=false",
        "trainer.gradient_clip_val=null",
        "augment.crop_scale=[0.2, 1.0]",
    ]
    cfg = compose("train", *overrides(values))
    assert (cfg.optimizer.lr, cfg.trainer.gradient_clip_val, cfg.augment.crop_scale) == (1e-5, None, [0.2, 1.0])


def test_a_space_holds_the_defaults_that_lie_in_it() -> None:
    space = read_space(
        {
            "rate": {"low": 1e-3, "high": 1e-1, "log": True},
            "decay": {"low": 1e-7, "high": 1e-3, "log": True},
            "k": {"low": 1, "high": 9, "step": 2},
            "dropout": {"low": 0.0, "high": 0.5, "step": 0.25},
            "name": {"choices": ["adam", "sgd"]},
            "flag": {"choices": [True, 1]},
            "none": {"choices": [None, 2]},
        }
    )
    inside = {"rate": 2e-2, "decay": 1e-3, "k": 3, "dropout": 0.25, "name": "sgd", "flag": True, "none": None}
    assert held(space, inside) == inside
    outside = {"rate": 1.0, "decay": 0.0, "k": 4, "dropout": 0.3, "name": {"lr": 1}, "flag": "yes", "none": ...}
    assert held(space, outside) == {}
    assert held(space, outside | {"k": True, "dropout": None, "rate": 0.1}) == {"rate": 0.1}


def test_a_suggestion_has_a_value_for_each_key_and_a_grid_every_combination() -> None:
    space = read_space(
        {"model": {"choices": ["a", "b"]}, "finetune": {"k": {"low": 1, "high": 3}}, "seed": {"low": 0.1, "high": 0.2}}
    )
    values = suggest(optuna.create_study().ask(), space)
    assert values["model"] in ("a", "b")
    assert 1 <= values["finetune.k"] <= 3
    assert 0.1 <= values["seed"] <= 0.2
    with pytest.raises(UserError, match=r"tune\.space\.seed has no list of values"):
        grid(space)
    del space["seed"]
    assert grid(space) == [{"model": m, "finetune.k": k} for m in "ab" for k in (1, 2, 3)]
    with pytest.raises(UserError, match=r"tune\.sampler=grid: 2,000,000,000 combinations are more than 100,000"):
        grid(read_space({"model": {"choices": ["a", "b"]}, "seed": {"low": 1, "high": 10**9}}))


@pytest.mark.parametrize("path", sorted((ROOT / "conf/tune").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_space_that_is_shipped_names_keys_of_train(path: Any) -> None:
    space = read_space(OmegaConf.to_container(OmegaConf.load(path))["space"])
    for key, kind in space.items():
        for value in kind.choices if isinstance(kind, CategoricalDistribution) else [getattr(kind, "low")]:  # noqa: B009
            compose("train", *overrides({key: value}))
