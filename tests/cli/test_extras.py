"""Callbacks that a run can use, and those that it cannot."""

import sys
from pathlib import Path

import pytest
from lightning.pytorch.callbacks import BaseFinetuning

from ft_lightning.cli.compose import compose
from ft_lightning.cli.extras import callbacks, loggers
from ft_lightning.cli.monitor import settle_direction
from ft_lightning.system.errors import UserError

LIGHTNING_S = "lightning.pytorch.callbacks"


class OwnFinetuning(BaseFinetuning):
    """One of the user's own."""


@pytest.mark.promise(41)
@pytest.mark.parametrize(
    ("target", "more", "said"),
    [
        (f"{LIGHTNING_S}.BackboneFinetuning", [], "use finetune=partial or finetune=full"),
        (f"{__name__}.OwnFinetuning", [], "a run cannot use OwnFinetuning: what trains is fixed"),
        (f"{LIGHTNING_S}.StochasticWeightAveraging", ["+callback.x.swa_lrs=0.01"], "use callback=ema"),
        (f"{LIGHTNING_S}.ModelPruning", ["+callback.x.pruning_fn=l1_unstructured"], "a run cannot use ModelPruning"),
        (f"{LIGHTNING_S}.LearningRateFinder", [], "use tune, which searches optimizer.lr"),
        (f"{LIGHTNING_S}.BatchSizeFinder", [], "set data.batch_size"),
        (
            f"{LIGHTNING_S}.EarlyStopping",
            ["+callback.x.monitor=val_loss"],
            "callback.x.monitor=val_loss is not measured",
        ),
        (f"{LIGHTNING_S}.EarlyStopping", ["+callback.x.monitor=train/loss"], "callback.x.monitor=train/loss is not"),
        (f"{LIGHTNING_S}.ModelCheckpoint", ["+callback.x.monitor=acc"], "use one of val/accuracy"),
        (f"{LIGHTNING_S}.EarlyStopping", ["+callback.x.monitor=val/loss", "+callback.x.mode=up"], "callback.x.mode=up"),
        ("torch.nn.ReLU", [], "ReLU is no callback of Lightning"),
    ],
)
def test_a_callback_that_a_run_cannot_use_is_refused_by_name(target: str, more: list[str], said: str) -> None:
    with pytest.raises(UserError) as refused:
        callbacks(compose("train", f"+callback.x._target_={target}", *more))
    assert said in str(refused.value)


def test_what_is_no_object_is_refused() -> None:
    with pytest.raises(UserError, match=r"callback\.x=5: it needs a _target_"):
        callbacks(compose("train", "+callback.x=5"))


def test_the_others_are_made() -> None:
    stop = compose("train", "callback=early_stopping", "+callback.timer._target_=lightning.pytorch.callbacks.Timer")
    settle_direction(stop)
    assert [type(callback).__name__ for callback in callbacks(stop)] == ["EarlyStopping", "Timer"]
    best = [f"+callback.x._target_={LIGHTNING_S}.ModelCheckpoint", "+callback.x.monitor=train/loss"]
    assert len(callbacks(compose("train", *best))) == 1


def test_a_logger_whose_package_is_missing_says_which_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    monkeypatch.setattr("lightning.pytorch.loggers.mlflow._MLFLOW_AVAILABLE", False)
    with pytest.raises(UserError, match=r"^logger=mlflow needs a package: pip install mlflow \("):
        loggers(compose("train", "logger=mlflow"), tmp_path)
    with pytest.raises(UserError, match="refuses this") as refused:
        loggers(compose("train", "+logger.x._target_=torch.nn.ReLU"), tmp_path)
    assert "needs a package" not in str(refused.value)
