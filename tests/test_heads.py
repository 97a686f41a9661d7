"""Heads: what a config or a model directory may ask for, and that it comes back the same."""

import pytest
import torch
from hydra.utils import instantiate
from torch import nn

from ft_lightning import heads
from ft_lightning.command import CONF, compose
from ft_lightning.errors import UserError
from ft_lightning.heads import HEADS, build_head


def test_a_linear_head_without_dropout_is_a_plain_layer() -> None:
    head = build_head("linear", in_features=5, num_classes=3, dropout=0.0)
    assert type(head) is nn.Linear
    assert head.weight.shape == (3, 5)


def test_dropout_acts_in_train_mode_only() -> None:
    for head in (build_head("linear", 64, 3, dropout=0.5), build_head("mlp", 64, 3, hidden=64, dropout=0.5)):
        features = torch.randn(2, 64)
        assert not torch.equal(head.train()(features), head(features))
        assert torch.equal(head.eval()(features), head(features))


def test_mlp_has_one_hidden_layer_of_the_given_width() -> None:
    head = build_head("mlp", 5, 3, hidden=7, dropout=0.0)
    assert [tuple(p.shape) for p in head.parameters()] == [(7, 5), (7,), (3, 7), (3,)]


def test_every_head_has_a_config_and_every_config_a_head() -> None:
    assert {path.stem for path in (CONF / "head").glob("*.yaml")} == set(HEADS)


@pytest.mark.parametrize("name", HEADS)
def test_name_and_arguments_of_a_config_build_the_same_head_again(name: str) -> None:
    cfg = compose("train", f"head={name}").head
    head = instantiate(cfg, in_features=6, num_classes=4)
    stored = {key: value for key, value in cfg.items() if key != "_target_"}
    again = build_head(in_features=6, num_classes=4, **stored)
    again.load_state_dict(head.state_dict())
    features = torch.randn(3, 6)
    assert head(features).shape == (3, 4)
    assert torch.equal(again.eval()(features), head.eval()(features))


def test_a_head_of_ones_own_is_a_function_and_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def normalised(in_features: int, num_classes: int, bias: bool) -> nn.Module:
        return nn.Sequential(nn.LayerNorm(in_features), nn.Linear(in_features, num_classes, bias))

    monkeypatch.setitem(heads.HEADS, "normalised", normalised)
    assert build_head("normalised", 6, 4, bias=False)(torch.randn(2, 6)).shape == (2, 4)


@pytest.mark.parametrize("name", ["liner", "torch.nn.Linear", "os.system"])
def test_an_unknown_name_is_refused_with_the_known_ones(name: str) -> None:
    with pytest.raises(UserError, match=rf"head.name={name} is unknown: use one of linear, mlp"):
        build_head(name, 6, 4)
