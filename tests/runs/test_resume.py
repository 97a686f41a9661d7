"""A run that was stopped goes on as if it had not been, and says so when it cannot."""

import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from lightning.pytorch.callbacks import Callback
from omegaconf import OmegaConf

from conftest import ROOT, Commands, files_below, patience
from ft_lightning.cli.compose import compose
from ft_lightning.runs.checkpoint import SealedCheckpointIO
from ft_lightning.runs.config import write_config
from ft_lightning.runs.resume import config_of, refuse_other_data
from ft_lightning.runs.run import Run as Directory
from ft_lightning.system.errors import UserError
from ft_lightning.system.tables import read_table
from ft_lightning.train import train

Run = Callable[..., subprocess.CompletedProcess[str]]
TESTS = ROOT / "tests"
TINY = ["model=timm", "model.name=test_resnet", "model.weights=null", "precision=32-true", "data.batch_size=4"]
RANDOM = ["finetune=partial", "augment=strong", "head=mlp", "head.dropout=0.3"]  # whatever draws random numbers
SAME = ("model/model.safetensors", "metrics.csv", "predictions.csv", "split.csv", "config.yaml")


class Stop(BaseException):
    """Ends a run like a kill: nothing in it expects this."""


class StopAt(Callback):
    """Stops before a step, or with -1 when the last epoch is over."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_validation_start(self, trainer: Any, pl_module: Any) -> None:
        if self.step < 0 and trainer.state.fn == "validate":
            raise Stop

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if trainer.global_step == self.step:
            raise Stop


def begin(folder: Path, *overrides: str, stop_at: int | None = None) -> None:
    """A new run of five steps an epoch, up to a step or to its end."""
    prepare(folder, *overrides)
    stop = (
        [] if stop_at is None else ["+callback.stop._target_=runs.test_resume.StopAt", f"+callback.stop.step={stop_at}"]
    )
    cfg = compose("train", *TINY, *overrides, *stop)
    if stop:
        with pytest.raises(Stop):
            train(cfg, folder)
    else:
        train(cfg, folder)


def prepare(folder: Path, *overrides: str) -> None:
    """What the command does first."""
    folder.mkdir(parents=True)
    write_config(compose("train", *TINY, *overrides), folder)


def go_on(folder: Path, *overrides: str) -> dict[str, Any]:
    return train(config_of(folder, compose("train", *overrides), list(overrides)), folder)


def contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in SAME}


@pytest.mark.promise(24)
@pytest.mark.parametrize(
    ("overrides", "stop_at"),
    [
        ([*RANDOM, "checkpoint_minutes=0"], 8),
        ([*RANDOM, "checkpoint_minutes=0", "data.num_workers=1"], 8),
        ([*RANDOM], 11),
        (["finetune=full", "checkpoint_minutes=0", "trainer.accumulate_grad_batches=2", "scheduler=onecycle"], 5),
        (["model.name=test_vit", "finetune=lora", "finetune.dropout=0.1", "checkpoint_minutes=0"], 8),
        (["finetune=full", "scheduler=plateau", "scheduler.patience=0", "optimizer=sgd"], 11),
        (["head.dropout=0.3", "checkpoint_minutes=0"], 8),  # on stored features
        (["optimizer=lbfgs", "optimizer.weight_decay=[1e-1,1e-2,1e-3]", "head=mlp", "head.hidden=16"], 2),
        (["callback=early_stopping", "callback.early_stopping.patience=1", "optimizer.lr=0"], -1),
        (["trainer.check_val_every_n_epoch=2", "trainer.max_epochs=4", *RANDOM], 11),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else str(value),
)
def test_a_run_that_goes_on_equals_one_that_did_not_stop(
    overrides: list[str], stop_at: int, pictures: Path, tmp_path: Path
) -> None:
    common = [f"data.root={pictures}", "trainer.max_epochs=3", *overrides]
    begin(tmp_path / "whole", *common)
    begin(tmp_path / "stopped", *common, stop_at=stop_at)
    assert not (tmp_path / "stopped/metrics.json").exists()
    go_on(tmp_path / "stopped")
    assert contents(tmp_path / "stopped") == contents(tmp_path / "whole")
    assert files_below(tmp_path / "stopped") == files_below(tmp_path / "whole")


def killed(commands: Commands, folder: Path, number: int, *overrides: str) -> None:
    """Runs the command, which kills itself in place of its n-th write below its checkpoints."""
    fault = (str(number), "kill", str(folder / "checkpoints"))
    command = commands.start("faults", *fault, *overrides, cwd=TESTS)
    assert command.wait(120) == -signal.SIGKILL, command.stderr


@pytest.mark.promise(24)
def test_a_run_killed_in_each_epoch_ends_as_if_it_had_not_been(
    pictures: Path, run_command: Run, commands: Commands, tmp_path: Path
) -> None:
    common = [*TINY, *RANDOM, f"data.root={pictures}", "trainer.max_epochs=11", "trainer.enable_progress_bar=false"]
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    assert run_command("train", *common, f"hydra.run.dir={whole}").returncode == 0
    killed(commands, stopped, 11, *common, f"hydra.run.dir={stopped}")
    epochs = [epochs_done(stopped)]
    for number in (12, 13, 14, 12):  # five a file
        killed(commands, stopped, number, f"resume={stopped}")
        epochs.append(epochs_done(stopped))
    assert all(one < next_one < 11 for one, next_one in pairwise(epochs)), epochs
    done = run_command("train", f"resume={stopped}")
    assert done.returncode == 0, done.stderr
    assert "goes on from last.ckpt" in done.stdout
    assert contents(stopped) == contents(whole)
    assert files_below(stopped) == files_below(whole)


def epochs_done(folder: Path) -> int:
    return torch.load(folder / "checkpoints/last.ckpt", weights_only=True)["epoch"] + 1


@pytest.mark.promise(25)
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_a_run_soon_with_its_own_code_and_it_can_go_on(
    number: signal.Signals, code: int, pictures: Path, commands: Commands, tmp_path: Path
) -> None:
    folder = tmp_path / "stopped"
    overrides = [*TINY, *RANDOM, f"data.root={pictures}", "checkpoint_minutes=0.001", "data.num_workers=1"]
    overrides.append("scheduler=constant")  # which does not depend on when it ends
    words = [*overrides, "trainer.max_epochs=1000", f"hydra.run.dir={folder}"]
    command = commands.start("ft_lightning.train", *words, cwd=tmp_path)
    deadline = time.monotonic() + patience(90)
    while not (folder / "checkpoints/last.ckpt").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    sent = time.monotonic()
    command.send_signal(number)
    assert command.wait(30) == code, command.stderr
    assert time.monotonic() - sent < 10
    # A thread of Python's multiprocessing may complain when the process that reads images goes first.
    assert "Traceback" not in command.stderr or "resource_sharer" in command.stderr
    assert not list(folder.rglob(".*.tmp"))

    epochs = f"trainer.max_epochs={epochs_done(folder) + 1}"
    go_on(folder, epochs)
    begin(tmp_path / "whole", *overrides, epochs)
    assert contents(folder) | {"config.yaml": b""} == contents(tmp_path / "whole") | {"config.yaml": b""}


def test_more_epochs_go_on_where_the_run_ended(pictures: Path, tmp_path: Path) -> None:
    for scheduler in ("cosine", "onecycle", "constant"):
        folder = tmp_path / scheduler
        begin(folder, f"data.root={pictures}", "trainer.max_epochs=2", f"scheduler={scheduler}")
        best = (folder / "checkpoints/best.ckpt").read_bytes()
        metrics = go_on(folder, "trainer.max_epochs=4")
        table = pd.read_csv(folder / "metrics.csv")
        assert table["epoch"].tolist() == [0, 1, 2, 3]
        assert metrics["val"]["accuracy"] == pytest.approx(table["val/accuracy"].max())
        if table.sort_values(["val/accuracy", "val/loss"], ascending=[False, True]).index[0] < 2:
            assert (folder / "checkpoints/best.ckpt").read_bytes() == best
        with pytest.raises(UserError, match="max_epochs=3: the run is already in epoch 4"):
            go_on(folder, "trainer.max_epochs=3")


def test_a_finished_run_is_finished_again(pictures: Path, tmp_path: Path) -> None:
    begin(tmp_path / "run", f"data.root={pictures}", "trainer.max_epochs=2")
    before = contents(tmp_path / "run")
    go_on(tmp_path / "run")
    assert contents(tmp_path / "run") == before


def test_a_moved_run_and_a_moved_dataset_go_on(pictures: Path, tmp_path: Path) -> None:
    begin(tmp_path / "whole", f"data.root={pictures}", "trainer.max_epochs=3")
    begin(tmp_path / "old", f"data.root={pictures}", "trainer.max_epochs=3", stop_at=11)
    shutil.move(tmp_path / "old", tmp_path / "elsewhere/new")
    shutil.move(pictures, tmp_path / "elsewhere/pictures")
    go_on(tmp_path / "elsewhere/new", f"data.root={tmp_path / 'elsewhere/pictures'}")
    assert not (tmp_path / "old").exists()
    same = contents(tmp_path / "elsewhere/new") | {"config.yaml": b""}
    assert same == contents(tmp_path / "whole") | {"config.yaml": b""}


def test_a_damaged_last_checkpoint_leaves_the_best_to_go_on_from(
    pictures: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    common = [f"data.root={pictures}", "trainer.max_epochs=4"]
    begin(tmp_path / "whole", *common)
    begin(tmp_path / "run", *common, stop_at=16)
    last = tmp_path / "run/checkpoints/last.ckpt"
    last.write_bytes(last.read_bytes()[:-1000])
    go_on(tmp_path / "run")
    assert "last.ckpt is damaged and not used" in caplog.text
    assert contents(tmp_path / "run") == contents(tmp_path / "whole")


def test_a_run_without_a_checkpoint_begins_at_the_beginning(
    pictures: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    common = [f"data.root={pictures}", "trainer.max_epochs=2"]
    begin(tmp_path / "whole", *common)
    begin(tmp_path / "run", *common, stop_at=3)
    go_on(tmp_path / "run")
    assert "no checkpoint yet" in caplog.text
    assert contents(tmp_path / "run") == contents(tmp_path / "whole")


def test_what_would_not_be_the_same_run_is_refused(pictures: Path, tmp_path: Path) -> None:
    weights = tmp_path / "w.pth"
    torch.save({}, weights)
    begin(tmp_path / "run", f"data.root={pictures}", "trainer.max_epochs=2", stop_at=6)
    for override, said in (
        ("optimizer.lr=1", r"optimizer\.lr=1 cannot change when a run goes on"),
        ("seed=1", "seed=1 cannot change"),
        ("~trainer.deterministic", "cannot change"),
        ("data.split_seed=3", "cannot change"),
    ):
        with pytest.raises(UserError, match=said):
            go_on(tmp_path / "run", override)
    changed = next(pictures.rglob("*.png"))
    before = changed.read_bytes()
    changed.write_bytes(before + b"\0")
    with pytest.raises(UserError, match=r"1 file of the dataset is new, gone, changed, .*\.png"):
        go_on(tmp_path / "run")
    changed.write_bytes(before)

    table = read_table(tmp_path / "run/split.csv")
    table.loc[0, "split"] = "test" if table.loc[0, "split"] == "train" else "train"
    with pytest.raises(UserError, match=r"1 file of the dataset .* in another split"):
        refuse_other_data(table, Directory(tmp_path / "run"))

    last = tmp_path / "run/checkpoints/last.ckpt"
    checkpoint = SealedCheckpointIO().load_checkpoint(last)
    SealedCheckpointIO().save_checkpoint(checkpoint | {"frozen_sha256": "0" * 64}, last)
    with pytest.raises(UserError, match=r"frozen weights .* sha256 [0-9a-f]{64}, .* was trained on 0000"):
        go_on(tmp_path / "run")


def test_what_cannot_go_on_exits_2(pictures: Path, run_command: Run, tmp_path: Path) -> None:
    begin(tmp_path / "run", f"data.root={pictures}", "trainer.max_epochs=2", stop_at=6)
    before = {name: (tmp_path / "run" / name).read_bytes() for name in files_below(tmp_path / "run")}
    for overrides, said in (
        ([f"resume={tmp_path / 'none'}"], "no run is there"),
        ([f"resume={tmp_path / 'run'}", "optimizer.lr=1"], "optimizer.lr=1 cannot change"),
        (["-m", f"resume={tmp_path / 'run'}", "trainer.max_epochs=3,4"], "leave out -m"),
        ([f"resume={tmp_path / 'run'}", "data.root=/none"], "data.root=/none: no such folder"),
        ([f"resume={tmp_path / 'run'}", "trainer.max_epochs=0"], "max_epochs=0"),
        ([f"resume={tmp_path / 'run'}", "hydra.run.dir=other"], "leave it out"),
    ):
        done = run_command("train", *overrides)
        assert done.returncode == 2, done.stderr
        assert said in done.stderr
        assert "Traceback" not in done.stderr
    assert {name: (tmp_path / "run" / name).read_bytes() for name in files_below(tmp_path / "run")} == before
    assert not (tmp_path / "none").exists()


def test_what_says_the_same_and_what_comes_from_the_environment(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(tmp_path / "run", f"data.root={pictures}")
    monkeypatch.setenv("SECRET", str(tmp_path / "hush"))
    overrides = ["optimizer.lr=2e-2", "cache.dir=${oc.env:SECRET}"]
    config = config_of(tmp_path / "run", compose("train", *overrides), overrides)
    assert config.cache.dir == str(tmp_path / "hush")
    assert "hush" not in OmegaConf.to_yaml(config)


@pytest.mark.promise(24)
def test_steps_that_end_within_an_epoch_go_on_with_the_next_one(pictures: Path, tmp_path: Path) -> None:
    for workers in (0, 1):
        common = [f"data.root={pictures}", *RANDOM, f"data.num_workers={workers}", "trainer.max_epochs=4"]
        begin(tmp_path / str(workers), *common, "scheduler=constant", "+trainer.max_steps=7")
        go_on(tmp_path / str(workers), "+trainer.max_steps=-1")
        table = pd.read_csv(tmp_path / str(workers) / "metrics.csv")
        assert table["epoch"].tolist() == [0, 1, 2, 3]
    one, other = (contents(tmp_path / name) | {"config.yaml": b""} for name in ("0", "1"))
    assert one == other


def test_a_lost_best_checkpoint_is_said(pictures: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    begin(tmp_path / "run", f"data.root={pictures}", "trainer.max_epochs=1")
    (tmp_path / "run/checkpoints/best.ckpt").unlink()
    go_on(tmp_path / "run")
    assert "There is no best.ckpt" in caplog.text


def test_a_run_goes_on_from_any_folder(pictures: Path, run_command: Run, tmp_path: Path) -> None:
    options = [*TINY, "data.root=pictures", "trainer.max_epochs=1", "hydra.run.dir=run"]
    assert run_command("train", *options, cwd=tmp_path).returncode == 0
    done = run_command("train", f"resume={tmp_path / 'run'}", "trainer.max_epochs=2")
    assert done.returncode == 0, done.stderr
    assert OmegaConf.load(tmp_path / "run/config.yaml").data.root == str(pictures)


def test_a_run_in_progress_is_not_taken_up_by_a_second_terminal(
    pictures: Path, run_command: Run, commands: Commands, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    overrides = [*TINY, f"data.root={pictures}", "trainer.max_epochs=100000", f"hydra.run.dir={folder}"]
    command = commands.start("ft_lightning.train", *overrides, cwd=tmp_path)
    try:
        deadline = time.monotonic() + patience(90)
        while not (folder / "checkpoints/last.ckpt").exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        done = run_command("train", f"resume={folder}")
        assert done.returncode == 2
        assert "is in use by another process" in done.stderr
    finally:
        command.kill()
        command.wait()
    done = run_command("train", f"resume={folder}", "trainer.max_epochs=1")
    assert "is in use" not in done.stderr
