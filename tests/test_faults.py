"""Full disks, unwritable places, broken numbers, killed processes: said, and nothing that was there is lost."""

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from lightning.pytorch.callbacks import Callback

from conftest import ROOT, patience, write_pictures
from faults import failing_write
from ft_lightning.cli.compose import compose
from ft_lightning.cli.known_errors import known_error
from ft_lightning.runs.checkpoint import SealedCheckpointIO
from ft_lightning.system.errors import NumericalError, UserError
from ft_lightning.system.files import claimed
from ft_lightning.train import train
from runs.test_resume import TINY, begin, contents, epochs_done, go_on, prepare

Run = Callable[..., subprocess.CompletedProcess[str]]
TESTS = ROOT / "tests"


def some_pictures(tmp_path: Path) -> Path:
    return write_pictures(tmp_path / "few", {"ant": 3, "bee": 3})


def checkpoints_are_whole(folder: Path) -> bool:
    for path in (folder / "checkpoints").glob("*"):
        SealedCheckpointIO().load_checkpoint(path)
    return True


@pytest.mark.promise(26)
@pytest.mark.parametrize(("fault", "step"), [("ENOSPC", 7), pytest.param("EIO", 1, marks=pytest.mark.slow)])
def test_whichever_write_of_a_run_fails_it_is_told_and_the_run_goes_on_later(
    fault: str, step: int, tmp_path: Path
) -> None:
    common = [f"data.root={some_pictures(tmp_path)}", "trainer.max_epochs=2", "trainer.enable_progress_bar=false"]
    begin(tmp_path / "whole", *common)
    number, tried = 1, 0
    while True:
        folder = tmp_path / f"run{number}"
        prepare(folder, *common)
        error: Exception | None = None
        try:
            with failing_write(number, fault, folder) as operations:
                train(compose("train", *TINY, *common), folder)
        except Exception as caught:
            error = caught
        if error:
            told = known_error(error)
            assert isinstance(told, UserError), error
            assert str(folder) in str(told)
            assert "cannot be written" in str(told)
        assert checkpoints_are_whole(folder)
        assert not list(folder.rglob(".*.tmp"))
        if operations() < number:
            break
        go_on(folder)
        assert contents(folder) == contents(tmp_path / "whole")
        number, tried = number + step, tried + 1
    assert tried > 8


@pytest.mark.promise(26)
def test_whichever_write_of_the_store_fails_the_run_goes_on_without_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    common = [f"data.root={some_pictures(tmp_path)}", "trainer.max_epochs=1", "trainer.enable_progress_bar=false"]
    begin(tmp_path / "whole", *common, f"cache.dir={tmp_path / 'good'}")
    for number in range(1, 100):
        store = tmp_path / f"store{number}"
        with failing_write(number, "ENOSPC", store) as operations:
            begin(tmp_path / f"run{number}", *common, f"cache.dir={store}")
        if operations() < number:
            break
        same = contents(tmp_path / f"run{number}") | {"config.yaml": b""}
        assert same == contents(tmp_path / "whole") | {"config.yaml": b""}
    assert number > 6
    assert caplog.text.count("features are kept in memory") > 4


@pytest.mark.promise(26)
@pytest.mark.parametrize(
    "place",
    [
        "checkpoints",
        "metrics.csv",
        "split.csv",
        "metrics.json",
        "predictions.csv",
        "report_data",
        "report.html",
    ],
)
def test_something_else_in_the_place_of_a_result_is_told(place: str, pictures: Path, tmp_path: Path) -> None:
    blocked = tmp_path / "run" / place
    blocked.parent.mkdir()
    if "." in place:
        (blocked / "folder").mkdir(parents=True)
    else:
        blocked.write_text("a file")
    with pytest.raises(Exception, match=place) as caught:
        train(compose("train", *TINY, f"data.root={pictures}", "trainer.max_epochs=1"), blocked.parent)
    assert isinstance(known_error(caught.value), UserError)


def limited_command(folder: Path, limit: Callable[[], None], *overrides: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ft_lightning.train", *overrides],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=patience(120),
        preexec_fn=limit,
    )


@pytest.mark.promise(26)
def test_a_disk_that_fills_up_ends_a_run_with_2_and_leaves_its_checkpoints(pictures: Path, tmp_path: Path) -> None:
    import resource

    full = [*TINY, f"data.root={pictures}", "finetune=full", "trainer.max_epochs=2"]
    begin(tmp_path / "whole", *full)
    begin(tmp_path / "run", *full, stop_at=6)
    before = (tmp_path / "run/checkpoints/last.ckpt").read_bytes()
    assert len(before) > 1_000_000
    done = limited_command(
        tmp_path, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (10**6, 10**6)), f"resume={tmp_path / 'run'}"
    )
    assert done.returncode == 2, done.stderr
    assert "last.ckpt cannot be written (File too large)" in done.stderr or "best.ckpt cannot be" in done.stderr
    assert "Traceback" not in done.stderr
    assert (tmp_path / "run/checkpoints/last.ckpt").read_bytes() == before
    go_on(tmp_path / "run")
    assert contents(tmp_path / "run") == contents(tmp_path / "whole")


@pytest.mark.promise(26)
@pytest.mark.skipif(sys.platform != "linux", reason="capabilities are Linux's")
def test_a_place_that_is_not_ours_ends_a_run_with_2(pictures: Path, tmp_path: Path) -> None:
    libc = ctypes.CDLL(None)
    theirs = tmp_path / "theirs"
    theirs.mkdir(mode=0o555)
    done = limited_command(
        tmp_path,
        lambda: libc.prctl(24, 1),  # without CAP_DAC_OVERRIDE even root obeys permissions
        *(*TINY, f"data.root={pictures}", "trainer.max_epochs=1", f"hydra.run.dir={theirs / 'run'}"),
    )
    assert done.returncode == 2, done.stderr
    assert "Permission denied" in done.stderr
    assert "theirs/run" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(theirs.iterdir())


class Explode(Callback):
    """Makes the loss of a step infinite, as a rate that is too high does."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if trainer.global_step == self.step:
            self.names = [trainer.datamodule.name_of("train", i) for i in batch["index"].tolist()]
            with torch.no_grad():
                next(pl_module.classifier.head.parameters()).mul_(np.inf)


@pytest.mark.promise(27)
def test_a_checkpoint_within_an_epoch_is_never_of_a_broken_state(pictures: Path, tmp_path: Path) -> None:
    explode = ["+callback.explode._target_=test_faults.Explode", "+callback.explode.step=13"]
    (tmp_path / "run").mkdir()
    with pytest.raises(NumericalError, match="step 14"):
        train(compose("train", *TINY, f"data.root={pictures}", "checkpoint_minutes=0", *explode), tmp_path / "run")
    last = torch.load(tmp_path / "run/checkpoints/last.ckpt", weights_only=True)
    assert last["global_step"] == 13
    assert all(value.isfinite().all() for value in last["state_dict"].values())


class BreakAfter(Explode):
    """Breaks the weights by a step whose own loss is finite."""

    def on_train_batch_start(self, *args: Any) -> None:
        pass

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *args: Any) -> None:
        if trainer.global_step == self.step:
            with torch.no_grad():
                next(pl_module.classifier.head.parameters()).mul_(np.inf)


@pytest.mark.promise(27)
def test_a_state_that_is_not_finite_takes_no_checkpoint_s_place(pictures: Path, tmp_path: Path) -> None:
    broken = ["+callback.broken._target_=test_faults.BreakAfter", "+callback.broken.step=10"]
    rare = ["trainer.check_val_every_n_epoch=3", "trainer.max_epochs=3"]
    (tmp_path / "run").mkdir()
    with pytest.raises(NumericalError, match=r"head\.\w+ is not finite after step 10"):
        train(compose("train", *TINY, f"data.root={pictures}", *rare, *broken), tmp_path / "run")
    assert epochs_done(tmp_path / "run") == 1


@pytest.mark.promise(27)
def test_a_loss_that_is_not_finite_is_told_and_the_best_checkpoint_stays(pictures: Path, tmp_path: Path) -> None:
    common = [f"data.root={pictures}", "trainer.max_epochs=4"]
    explode = ["+callback.explode._target_=test_faults.Explode", "+callback.explode.step=13"]
    begin(tmp_path / "two", *common, stop_at=10)
    (tmp_path / "run").mkdir()
    with pytest.raises(NumericalError, match=r"step 14 \(epoch 3, batch 4\) is nan at optimizer\.lr=0\.\d+") as caught:
        train(compose("train", *TINY, *common, *explode), tmp_path / "run")
    named = [
        path for path in pictures.rglob("*.png") if f"{path.relative_to(pictures).as_posix()}" in str(caught.value)
    ]
    assert len(named) == 4, "the batch's files and no others"
    assert epochs_done(tmp_path / "run") == 2
    for name in ("best.ckpt", "last.ckpt"):
        one, other = (
            torch.load(tmp_path / run / "checkpoints" / name, weights_only=True)["state_dict"] for run in ("run", "two")
        )
        assert all(torch.equal(one[key], other[key]) for key in other)


@pytest.mark.promise(27)
def test_a_rate_that_is_far_too_high_exits_3(pictures: Path, run_command: Run) -> None:
    done = run_command("train", *TINY, f"data.root={pictures}", "finetune=full", "optimizer=sgd", "optimizer.lr=1e30")
    assert done.returncode == 3, done.stderr
    assert "optimizer.lr=" in done.stderr
    assert ".png" in done.stderr
    assert "Traceback" not in done.stderr


class KillWorkers(Callback):
    """What the system does to a process when memory runs out."""

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        own = psutil.Process()
        for child in own.children():
            if child.cmdline() == own.cmdline():  # a fork of this process
                child.send_signal(signal.SIGKILL)


def test_a_killed_reader_is_told(pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    how = ["finetune=full", "data.num_workers=2", "+callback.kill._target_=test_faults.KillWorkers"]
    with pytest.raises(RuntimeError) as caught:
        train(compose("train", *TINY, f"data.root={pictures}", *how), tmp_path / "run")
    told = known_error(caught.value)
    assert isinstance(told, UserError)
    assert "lower data.num_workers" in str(told)


def test_a_memory_that_is_full_is_told(pictures: Path) -> None:
    for allocate in (lambda: torch.empty(2**56), lambda: bytearray(2**60), _cuda_is_full, _mps_is_full):
        with pytest.raises((RuntimeError, MemoryError)) as caught:
            allocate()
        told = known_error(caught.value)
        assert isinstance(told, UserError)
        assert "lower data.batch_size" in str(told)


def _cuda_is_full() -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")  # as torch does; no GPU is here


def _mps_is_full() -> None:
    raise RuntimeError("MPS backend out of memory (MPS allocated: 17.93 GB, other allocations: 1.2 GB).")


def test_a_folder_has_one_owner_who_may_have_been_killed(tmp_path: Path) -> None:
    with claimed(tmp_path):
        with pytest.raises(UserError, match="in use by another process"), claimed(tmp_path):
            pass
        ready, told = os.pipe()
        if (child := os.fork()) == 0:  # a process that reads images, say, must not hold it
            os.write(told, b".")
            signal.pause()
        os.read(ready, 1)
    with claimed(tmp_path):
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
