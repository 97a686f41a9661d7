"""A checkpoint holds the trained part, and fits the run that it is of."""

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from ft_lightning.model import Classifier
from ft_lightning.runs.trained_part import TrainedPart
from ft_lightning.system.errors import NumericalError, UserError
from test_finetune import classifier


def model(*how: Any, resize: int = 32) -> Classifier:
    made = classifier(*how)
    made.backbone.reader = SimpleNamespace(to_dict=lambda: {"resize": resize})
    return made


def state_of(of: Classifier) -> dict[str, torch.Tensor]:
    return {f"classifier.{name}": value for name, value in of.state_dict().items()}


def packed(of: Classifier) -> dict[str, Any]:
    checkpoint = {"state_dict": state_of(of), "current_model_state": state_of(of), "epoch": 3}
    TrainedPart(of).pack(checkpoint, "step 3 at optimizer.lr=1")
    return checkpoint


@pytest.mark.parametrize("how", [("frozen",), ("partial", 1), ("full",)])
def test_the_frozen_part_is_left_out_and_comes_back(how: tuple[Any, ...]) -> None:
    trained = model(*how)
    checkpoint = packed(trained)
    names = {f"classifier.{name}" for name in trained.plan.trained_state(trained.state_dict())}
    for key in ("state_dict", "current_model_state"):
        assert checkpoint[key].keys() == names
    assert checkpoint["epoch"] == 3
    fresh = model(*how)
    TrainedPart(fresh).unpack(checkpoint, state_of(fresh))
    for key in ("state_dict", "current_model_state"):
        assert checkpoint[key].keys() == state_of(trained).keys()
        assert all(torch.equal(checkpoint[key][name], value) for name, value in state_of(trained).items())


def test_another_run_s_is_refused() -> None:
    checkpoint = packed(model("partial", 1))
    with pytest.raises(UserError, match=r"holds another trained part than this run, for example classifier\."):
        TrainedPart(model("partial", 2)).unpack(dict(checkpoint), {})
    with pytest.raises(UserError, match=r"use the model\.weights it was trained with"):
        TrainedPart(model("partial", 1, resize=64)).unpack(dict(checkpoint), {})
    other = model("partial", 1)
    with torch.no_grad():
        other.backbone.network.stem[0].weight[0, 0] += 1
    with pytest.raises(UserError, match="The frozen weights and their preprocess have sha256"):
        TrainedPart(other).unpack(dict(checkpoint), {})


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_not_finite_is_never_written(value: float) -> None:
    broken = model("frozen")
    with torch.no_grad():
        broken.head.bias[1] = value
    with pytest.raises(NumericalError, match=r"^head\.bias is not finite after step 3 at optimizer\.lr=1: use another"):
        packed(broken)
