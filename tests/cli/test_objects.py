"""What a constructor refuses is of the values that it names, of those that were typed, or of all."""

from typing import Any

import pytest
from hydra.errors import InstantiationException
from omegaconf import DictConfig, OmegaConf

from ft_lightning.cli import objects
from ft_lightning.cli.objects import blaming, make
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
