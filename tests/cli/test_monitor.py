"""The direction of `monitor` comes from its metric, and everything that refers to it agrees or is refused by name."""

from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pandas as pd
import pytest
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint

from composing import own_keys
from ft_lightning import build
from ft_lightning.cli.compose import compose
from ft_lightning.runs.config import DEFAULTS, study_digest, write_config
from ft_lightning.runs.run import Run
from ft_lightning.system.errors import UserError
from ft_lightning.tasks.multiclass import MultiClass
from ft_lightning.train import train
from ft_lightning.tune import plan_of

Command = Callable[..., CompletedProcess[str]]
FOLLOWERS = ["callback=early_stopping", "scheduler=plateau"]
TINY = ["model=timm", "model.name=test_resnet", "model.weights=null", "precision=32-true", "data.batch_size=8"]
STOPPING = "+callback.own._target_=lightning.pytorch.callbacks"


@pytest.mark.promise(32)
@pytest.mark.parametrize(("monitor", "mode"), [("val/loss", "min"), ("val/accuracy", "max"), ("val/f1_macro", "max")])
@pytest.mark.parametrize("given", [[], ["same"]])
def test_the_direction_is_that_of_the_metric_everywhere(monitor: str, mode: str, given: list[str]) -> None:
    words = [f"monitor={monitor}", *FOLLOWERS, *(f"monitor_mode={mode}" for _ in given)]
    cfg = compose("train", *words)
    build.check(cfg)
    assert cfg.monitor_mode == cfg.callback.early_stopping.mode == cfg.scheduler.mode == mode
    (stopping,) = build.trainer(cfg, [], None).early_stopping_callbacks
    assert isinstance(stopping, EarlyStopping)
    assert (stopping.monitor, stopping.mode) == (monitor, mode)
    plan = plan_of(compose("tune", *words))
    assert plan.direction == {"min": "minimize", "max": "maximize"}[mode]


@pytest.mark.promise(32)
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["monitor_mode=min"], "monitor_mode=min: higher values of val/accuracy are better: leave it out"),
        (["monitor=val/loss", "monitor_mode=max"], "monitor_mode=max: lower values of val/loss are better: leave it"),
        (["monitor_mode=up"], "monitor_mode=up: higher values"),
        (["monitor=train/loss"], "monitor=train/loss is not measured each epoch: use one of val/accuracy"),
        (["monitor=null"], "monitor=null: use text"),
        (
            [*FOLLOWERS, "callback.early_stopping.monitor=val/loss"],
            "callback.early_stopping.mode=max: lower values of val/loss are better: use min",
        ),
        (
            [*FOLLOWERS, "callback.early_stopping.monitor=val_loss"],
            "callback.early_stopping.monitor=val_loss is not measured each epoch: use one of val/accuracy",
        ),
        ([*FOLLOWERS, "scheduler.monitor=val/loss"], "scheduler.mode=max: lower values of val/loss"),
        ([*FOLLOWERS, "scheduler.monitor=train/loss"], "scheduler.monitor=train/loss is not measured"),
        (
            [f"{STOPPING}.EarlyStopping", "+callback.own.monitor=val/accuracy"],
            "callback.own.mode=min: higher values of val/accuracy are better: use max",
        ),
        (
            [f"{STOPPING}.ModelCheckpoint", "+callback.own.monitor=train/accuracy", "+callback.own.mode=min"],
            "callback.own.mode=min: higher values of train/accuracy",
        ),
    ],
)
def test_what_contradicts_is_refused_by_its_key(words: list[str], said: str) -> None:
    with pytest.raises(UserError, match=said):
        build.check(compose("train", *words))


@pytest.mark.promise(32)
def test_a_callback_may_follow_another_metric_in_its_own_direction() -> None:
    own = [*FOLLOWERS, "callback.early_stopping.monitor=train/loss", "callback.early_stopping.mode=min"]
    build.check(compose("train", *own))
    saving = [f"{STOPPING}.ModelCheckpoint", "+callback.own.monitor=val/loss"]
    cfg = compose("train", *saving)
    build.check(cfg)
    assert isinstance(ModelCheckpoint(monitor="val/loss"), ModelCheckpoint)
    assert cfg.monitor_mode == "max"


@pytest.mark.promise(32)
def test_a_metric_that_says_nothing_of_its_direction_needs_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MultiClass, "directions", {**MultiClass.directions, "odd": None})
    with pytest.raises(UserError, match=r"monitor_mode=None: nothing says which values of val/odd are better: use max"):
        build.check(compose("train", "monitor=val/odd"))
    with pytest.raises(UserError, match="monitor_mode=up: nothing says which"):
        build.check(compose("train", "monitor=val/odd", "monitor_mode=up"))
    cfg = compose("train", "monitor=val/odd", "monitor_mode=min", *FOLLOWERS)
    build.check(cfg)
    assert cfg.scheduler.mode == "min"


@pytest.mark.promise(32)
def test_a_config_on_disk_has_the_direction_and_a_search_keeps_its_name(tmp_path: Path) -> None:
    cfg = compose("train", "monitor=val/loss", *FOLLOWERS)
    write_config(cfg, tmp_path)
    saved = Run(tmp_path).config
    assert saved["monitor_mode"] == saved["callback"]["early_stopping"]["mode"] == saved["scheduler"]["mode"] == "min"
    assert cfg.monitor_mode is None, "the caller's stays as it was"
    for words, name in (([], "07ff56bb"), (FOLLOWERS[:1], "5378af86"), (FOLLOWERS[1:], "22da90db")):
        assert study_digest(compose("tune", *words, *own_keys())) == name, (
            "as before the key was null, and before our early stopping"
        )
    assert "monitor_mode" not in DEFAULTS


@pytest.mark.promise(32)
@pytest.mark.parametrize("more", [[], FOLLOWERS])
def test_the_epoch_of_the_lowest_loss_is_delivered(more: list[str], pictures: Path, tmp_path: Path) -> None:
    rising = ["optimizer=sgd", "optimizer.lr=3", "scheduler=constant", "trainer.max_epochs=5"]
    words = [f"data.root={pictures}", *TINY, *rising, *more, "monitor=val/loss", "trainer.enable_progress_bar=false"]
    metrics = train(compose("train", *words), tmp_path)
    history = pd.read_csv(tmp_path / "metrics.csv")
    assert len(set(history["val/loss"])) > 1
    assert metrics["calibration"]["before"]["val"]["loss"] == pytest.approx(history["val/loss"].min(), rel=1e-4)
