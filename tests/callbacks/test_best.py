"""The best epoch, on disk, in memory and for early stopping, where val alone cannot tell epochs apart."""

import math
from pathlib import Path
from typing import Any

import lightning
import pytest
import torch
from lightning import Callback, LightningModule, Trainer
from torch.utils.data import DataLoader

from ft_lightning.callbacks import checkpoints
from ft_lightning.callbacks.best_epoch import BestEpoch
from ft_lightning.callbacks.checkpoints import BestCheckpoint, WithinEpoch, best_and_last
from ft_lightning.callbacks.early_stopping import EarlyStopping
from ft_lightning.callbacks.epoch_table import EpochTable
from ft_lightning.system.errors import NumericalError

IGNORED = ["ignore:Checkpoint directory", "ignore:.*could not find the monitored key"]  # as in a run: build._NOISE
TIED = [(1.0, 0.5), (1.0, 0.3), (1.0, 0.4), (1.0, 0.3), (0.9, 0.1)]
FALLING = [(1.0, 0.9 - i / 10) for i in range(8)]


class Scripted(LightningModule):
    """Logs given values after each epoch; its one weight counts epochs."""

    def __init__(self, script: list[tuple[float, float]]) -> None:
        super().__init__()
        self.script = script
        self.weight = torch.nn.Parameter(torch.zeros(()))

    def training_step(self, batch: Any, index: int) -> torch.Tensor:
        return self.weight * 1.0

    def validation_step(self, batch: Any, index: int) -> None:
        pass

    def on_validation_epoch_end(self) -> None:
        value, loss = self.script[self.current_epoch]
        self.log_dict({"val/accuracy": value, "val/loss": loss})

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=1.0)


def fit(
    script: list[tuple[float, float]], folder: Path, *more: Callback, resume: Path | None = None, **options: Any
) -> tuple[Scripted, BestCheckpoint]:
    table, module = EpochTable(folder / "metrics.csv"), Scripted(script)
    monitor, mode = options.pop("monitor", "val/accuracy"), options.pop("mode", "max")
    best, last = best_and_last(folder / "checkpoints", monitor, mode, table)
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "num_sanity_val_steps": 0}
    arguments = {"max_epochs": len(script)} | quiet | options
    trainer = Trainer(accelerator="cpu", callbacks=[table, *more, best, last], **arguments)
    loader = DataLoader(torch.zeros(2, 1), batch_size=2)
    trainer.fit(module, loader, loader, ckpt_path=resume)
    assert isinstance(best, BestCheckpoint)
    return module, best


def kept(folder: Path) -> int:
    """The epoch of best.ckpt."""
    return torch.load(folder / "checkpoints/best.ckpt", weights_only=True)["epoch"]


@pytest.mark.promise(31)
@pytest.mark.filterwarnings(*IGNORED)
@pytest.mark.parametrize(
    ("script", "options", "epoch"),
    [
        (TIED, {}, 1),
        (TIED, {"monitor": "val/loss", "mode": "min"}, 4),
        ([(0.5, 0.1), (0.9, 0.7), (0.9, 0.7)], {}, 1),
        (FALLING, {}, 7),
        (FALLING, {"check_val_every_n_epoch": 3}, 5),
        (list(reversed(FALLING)), {}, 0),
    ],
)
def test_the_lowest_loss_of_the_best_epochs_is_kept(
    script: list[tuple[float, float]], options: dict[str, Any], epoch: int, tmp_path: Path
) -> None:
    monitor, mode = options.get("monitor", "val/accuracy"), options.get("mode", "max")
    seen: list[int] = []
    memory = BestEpoch(monitor, mode, lambda number, value: seen.append(number), weights=False)
    _, best = fit(script, tmp_path, memory, **options)
    assert kept(tmp_path) == memory.epoch == epoch
    assert best.best_model_path == str(tmp_path / "checkpoints/best.ckpt")
    assert memory.metrics["val/loss"] == pytest.approx(script[epoch][1])


@pytest.mark.promise(31)
@pytest.mark.filterwarnings(*IGNORED)
@pytest.mark.parametrize("stop", range(1, 5))
def test_a_resumed_run_keeps_the_epoch_that_an_uninterrupted_one_keeps(stop: int, tmp_path: Path) -> None:
    fit(TIED, tmp_path, max_epochs=stop)
    _, best = fit(TIED, tmp_path, resume=tmp_path / "checkpoints/last.ckpt")
    assert kept(tmp_path) == 1
    assert best.best_model_score == pytest.approx(1.0)


def test_checkpoints_name_it_as_lightning_s(tmp_path: Path) -> None:
    fit(TIED, tmp_path)
    states = torch.load(tmp_path / "checkpoints/last.ckpt", weights_only=True)["callbacks"]
    of_monitors = [key for key in states if "ModelCheckpoint" in key]
    assert len(of_monitors) == 2
    assert any(key.startswith("ModelCheckpoint{'monitor': 'val/accuracy', 'mode': 'max'") for key in of_monitors)


@pytest.mark.promise(31)
@pytest.mark.parametrize(
    ("script", "options", "epochs"),
    [
        (FALLING, {}, 8),
        ([(1.0, 0.5)] * 8, {}, 3),
        (list(reversed(FALLING)), {}, 3),
        (FALLING, {"min_delta": 0.25}, 3),
        ([(0.5 + i / 20, 0.1 * i) for i in range(8)], {}, 8),
        ([(1.0, 0.5), (0.9, 0.1), (1.0, 0.4), (0.9, 0.1), (0.9, 0.1), (1.0, 0.1)], {}, 5),
        (FALLING, {"monitor": "val/loss", "mode": "min"}, 8),
        ([(1.0, 0.5), (math.nan, 0.4), (1.0, 0.3)], {}, 2),
    ],
)
def test_a_lower_loss_at_the_same_value_is_an_improvement(
    script: list[tuple[float, float]], options: dict[str, Any], epochs: int, tmp_path: Path
) -> None:
    stopping = EarlyStopping(**{"monitor": "val/accuracy", "mode": "max", "patience": 2, "min_delta": 0.0} | options)
    fit(script, tmp_path, stopping)
    assert len((tmp_path / "metrics.csv").read_text().splitlines()) - 1 == epochs


NAN = math.nan
NEVER = r"monitor=val/accuracy is nan in epoch 1: no epoch can be chosen by it\. Mend the function of accuracy, or"
PASSED = "monitor=val/accuracy is nan in epoch 2: that epoch is never the best"


@pytest.mark.filterwarnings(*IGNORED)
@pytest.mark.parametrize("in_memory", [False, True])
@pytest.mark.parametrize("options", [{}, {"check_val_every_n_epoch": 2}])
def test_a_monitored_value_that_is_not_finite_is_told(
    in_memory: bool, options: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    memory = [BestEpoch("val/accuracy", "max", lambda number, value: None, weights=False)] if in_memory else []
    said = NEVER.replace("epoch 1", "epoch 2") if options else NEVER
    with pytest.raises(NumericalError, match=said):
        fit([(NAN, 0.5), (NAN, 0.5), (1.0, 0.5)], tmp_path / "never", *memory, **options)
    assert "never the best" not in caplog.text
    fit([(0.5, 0.5), (NAN, 0.1), (0.4, 0.5)], tmp_path / "passed", *memory)
    assert kept(tmp_path / "passed") == 0
    assert PASSED in caplog.text
    assert caplog.text.count("monitor=") == 1 + in_memory


def test_early_stopping_goes_on_where_it_was_also_from_a_checkpoint_of_lightning_s(tmp_path: Path) -> None:
    def stopping(kind: type[lightning.pytorch.callbacks.EarlyStopping]) -> lightning.pytorch.callbacks.EarlyStopping:
        return kind(monitor="val/accuracy", mode="max", patience=3, min_delta=0.0)

    script = [(1.0, 0.5), (1.0, 0.6), *FALLING[1:7]]
    ours = stopping(EarlyStopping)
    fit(script, tmp_path / "ours", ours, max_epochs=2)
    again = stopping(EarlyStopping)
    again.load_state_dict(ours.state_dict())
    assert (again.wait_count, again.state_dict()) == (1, ours.state_dict())
    theirs = stopping(lightning.pytorch.callbacks.EarlyStopping)
    fit(script, tmp_path / "theirs", theirs, max_epochs=2)
    assert theirs.state_key == ours.state_key
    again.load_state_dict(theirs.state_dict())
    assert again.state_dict() == theirs.state_dict() | {"best_loss": -math.inf}, "an unknown loss is not improved upon"


@pytest.mark.filterwarnings(*IGNORED, "ignore:You defined a `validation_step`")
@pytest.mark.parametrize(
    ("minutes", "accumulated", "batches"),
    [(0, 1, [0, 1, 2, 3, 4]), (0, 2, [1, 3]), (0, 3, [2]), (1, 1, [1, 3]), (2, 1, [3]), (3, 1, [])],
)
def test_within_an_epoch_a_checkpoint_is_due_by_the_clock_and_only_after_a_step_of_the_optimizer(
    minutes: float, accumulated: int, batches: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []

    class Clock(Callback):
        def on_train_batch_start(self, trainer: Trainer, module: LightningModule, batch: Any, batch_idx: int) -> None:
            monkeypatch.setattr(checkpoints.time, "monotonic", lambda: 30.2 * (batch_idx + 1))

    monkeypatch.setattr(checkpoints.time, "monotonic", lambda: 0.0)
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "num_sanity_val_steps": 0}
    trainer = Trainer(
        accelerator="cpu", callbacks=[Clock(), WithinEpoch(tmp_path, minutes)], max_epochs=1, limit_val_batches=0,
        accumulate_grad_batches=accumulated, **quiet,
    )  # fmt: skip
    monkeypatch.setattr(trainer, "save_checkpoint", lambda path: seen.append(trainer.fit_loop.batch_idx))
    trainer.fit(Scripted([]), DataLoader(torch.zeros(6, 1), batch_size=1))
    assert seen == batches
