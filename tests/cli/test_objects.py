"""What a constructor refuses is of the values that it names, of those that were typed, or of all."""

from pathlib import Path
from typing import Any

import pytest
import torch
from hydra.errors import InstantiationException
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from ft_lightning.cli import objects
from ft_lightning.cli.compose import compose
from ft_lightning.cli.objects import blaming, check_targets, make, make_loss, make_scheduler
from ft_lightning.system.errors import NumericalError, UserError


def of(target: str, **values: Any) -> DictConfig:
    return OmegaConf.create({"x": {"_target_": target, **values}})


DROPOUT = of("torch.nn.Dropout", p=2, inplace=False)
REFUSED = "torch.nn.Dropout refuses this: dropout probability has to be between 0 and 1, but got 2."


@pytest.mark.parametrize(
    ("typed", "blamed"),
    [
        (None, "x.p=2 x.inplace=false"),
        ([], "x.p=2 x.inplace=false"),
        (["x.p=2", "y.p=3"], "x.p=2"),
        (["+x.inplace=false"], "x.inplace=false"),
        (["y.inplace=1"], "x.p=2 x.inplace=false"),
    ],
)
def test_what_was_typed_is_blamed_or_all(typed: list[str] | None, blamed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "typed_overrides", lambda: typed)
    with pytest.raises(UserError) as refused:
        make(DROPOUT, "x")
    assert str(refused.value) == f"{blamed}: {REFUSED}"


def test_a_value_that_the_error_names_is_blamed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "typed_overrides", lambda: ["x.bias=true", "x.groups=3"])
    cfg = of("torch.nn.Conv2d", in_channels=4, out_channels=3, kernel_size=1, groups=3, bias=True)
    with pytest.raises(UserError, match=r"^x\.groups=3: torch\.nn\.Conv2d refuses this: in_channels must be divisible"):
        make(cfg, "x")


def refused(error: Exception, wrapped: bool) -> BaseException:
    with pytest.raises(Exception) as caught, blaming(DROPOUT, "x"):  # noqa: PT011, PT012
        if wrapped:
            raise InstantiationException("Error in call to target") from error
        raise error
    return caught.value


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_refusal_is_the_user_s_and_another_error_a_bug(wrapped: bool) -> None:
    assert isinstance(refused(ValueError("no"), wrapped), UserError)
    assert str(refused(RuntimeError("CUDA out of memory."), wrapped)).startswith("Out of memory")
    for bug in (ZeroDivisionError(), NumericalError("not finite")):
        assert not isinstance(refused(bug, wrapped), UserError)
    assert isinstance(refused(InstantiationException("cannot be imported"), False), UserError)


def test_a_given_argument_is_refused_and_those_of_the_command_are_left_out() -> None:
    cfg = of("builtins.dict", a=1, b=[2], c=3)
    assert make(cfg, "x", but=["c"], d=4) == {"a": 1, "b": [2], "d": 4}
    assert make(cfg, "x", over=["a"], a=5)["a"] == 5
    with pytest.raises(UserError, match=r"x\.a=1: the command sets it itself; leave it out"):
        make(cfg, "x", a=5)
    with pytest.raises(UserError, match=r"x\.a=1: it needs a _target_"):
        make(cfg, "x.a")


def test_a_file_that_the_config_names_and_that_cannot_be_opened_is_the_user_s(tmp_path: Path) -> None:
    table = str(tmp_path / "logits.csv")
    with pytest.raises(
        UserError, match=r"^x\.filepath_or_buffer=.*logits\.csv: pandas\.read_csv refuses this: .*No such"
    ):
        make(of("pandas.read_csv", filepath_or_buffer=table), "x")
    with pytest.raises(FileNotFoundError), blaming(DROPOUT, "x"):
        open(table)  # noqa: PTH123, SIM115


def test_a_missing_partial_is_guessed() -> None:
    for target in ("torch.optim.Adam", "ft_lightning.optim.constant"):
        with pytest.raises(UserError, match=r"Does its file lack the line `_partial_: true`\?"):
            make(of(target), "x")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, ""),
        ({"loss": {"gamma": 2.0}}, "loss: its file has no _target_"),
        (
            {"data": {"find": {"_target_": "x"}}},
            "data: its file has no _target_, .* no `defaults:` with a file that has",
        ),
        ({"module": {"_target_": None}}, "module: its file has no _target_"),
        ({"model": "resnet50"}, "model=resnet50 is written as a value: write `- override /model: resnet50`"),
        ({"callback": {"_target_": "x.Timer", "duration": 1}}, "callback: in its file, write _target_ .* below a name"),
        ({"logger": {"_target_": "x.Logger"}}, "logger: in its file, write _target_"),
        ({"callback": {"timer": {"duration": 1}}}, "callback.timer: it has no _target_"),
        ({"callback": None}, "callback: it is missing; callback=none adds none"),
        ({"logger": None}, "logger: it is missing; logger=csv adds none"),
    ],
    ids=str,
)
def test_a_choice_that_names_nothing_to_be_made_is_told(changes: dict[str, Any], said: str) -> None:
    cfg = compose("train")
    for group, node in changes.items():
        cfg[group] = node
    if not said:
        check_targets(cfg)
        return
    with pytest.raises(UserError, match=f"^{said}"):
        check_targets(cfg)


class Bare(nn.Module):
    def forward(self, outputs: Tensor, target: Tensor) -> Tensor:
        return outputs.mean()


class Counting(Bare):
    def __init__(self, class_counts: list[int]) -> None:
        super().__init__()


def no_loss(class_counts: list[int]) -> None:
    """Return nothing, by mistake."""


def test_a_loss_takes_what_the_task_knows_and_is_one() -> None:
    def of_a_loss(made: Any) -> Any:
        cfg = OmegaConf.create({"task": {"name": "multiclass"}, "loss": {"_target_": f"{__name__}.{made.__name__}"}})
        return make_loss(cfg, {"class_counts": [3, 4]})

    assert isinstance(of_a_loss(Counting), Counting)
    with pytest.raises(UserError, match=r"Bare takes no class_counts, .* A loss of yours has to take class_counts\."):
        of_a_loss(Bare)
    with pytest.raises(UserError, match="no_loss returned a NoneType"):
        of_a_loss(no_loss)


def test_a_schedule_of_torch_steps_once_an_epoch() -> None:
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    cfg = of("torch.optim.lr_scheduler.StepLR", _partial_=True, step_size=2, gamma=0.5)
    cfg = OmegaConf.create({"scheduler": cfg.x})
    made = make_scheduler(cfg)(optimizer, 100.0)
    assert made["interval"] == "epoch"
    assert made["scheduler"].step_size == 2
    cfg = of("ft_lightning.optim.cosine", _partial_=True, warmup_fraction=0.1)
    assert make_scheduler(OmegaConf.create({"scheduler": cfg.x}))(optimizer, 100.0)["interval"] == "step"
