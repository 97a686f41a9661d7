"""A multirun's table and exit code are made of the files that its jobs leave, whichever launcher ran them."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from conftest import files_below
from ft_lightning.cli import multirun
from ft_lightning.runs.run import Run as Directory
from ft_lightning.system.tables import read_table

Run = Callable[..., CompletedProcess[str]]

# Each is named by a job as what makes its dataset, which a check of files alone looks at in two seconds.
INJECTED = """
import os, signal
from ft_lightning.system.errors import UserError

def good():
    return os.environ["IMAGES"]

def bad():
    raise UserError("injected\\nand a second line")

def killed():
    os.kill(os.getpid(), signal.SIGKILL)

def requeued():
    try:
        open("was_here", "x")
    except FileExistsError:
        return good()
    os.kill(os.getpid(), signal.SIGUSR2)  # as a cluster does before it takes a machine away
"""
KILL = """
import os, signal
from lightning.pytorch.callbacks import Callback

class KillOnce(Callback):
    def on_train_epoch_start(self, trainer, module):
        if trainer.current_epoch == 2 and not os.path.exists("was_here"):
            open("was_here", "x")
            os.kill(os.getpid(), signal.SIGKILL)
"""
CHECK = ["check", "-m", "features=false", "cache.enabled=false"]


@pytest.fixture
def injected(pictures: Path, tmp_path: Path) -> dict[str, str]:
    """The environment in which a command finds `inject`."""
    (tmp_path / "inject.py").write_text(INJECTED)
    paths = [str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {"PYTHONPATH": os.pathsep.join(paths), "IMAGES": str(pictures)}


def sweep_of(*jobs: str) -> str:
    return "data.create._target_=" + ",".join(f"inject.{job}" for job in jobs)


@pytest.mark.promise(42)
def test_jobs_of_a_launcher_end_in_the_table_and_in_the_worst_exit_code(
    injected: dict[str, str], run_command: Run, tmp_path: Path
) -> None:
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    jobs = ("killed", "bad", "requeued")
    done = run_command(*CHECK, "hydra/launcher=submitit_local", sweep_of(*jobs), env=injected)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert "has not produced any output" in done.stderr, "submitit says which"
    (sweep,) = (tmp_path / "cwd/outputs/check").iterdir()
    table = read_table(sweep / "multirun.csv")
    assert list(table) == [
        "job", "overrides", "val_accuracy", "test_accuracy", "test_low", "test_high", "exit_code", "error"
    ]  # fmt: skip
    assert table["job"].tolist() == ["0", "1", "2"]
    assert table["overrides"].tolist() == [sweep_of(job) for job in jobs]
    assert table["exit_code"].astype(int).tolist() == [1, 2, 0]
    assert table["error"].tolist() == ["lost", "injected", ""]
    for word in ("inject.killed", "lost", "inject.requeued", "inject.bad", "injected", "multirun.csv"):
        assert word in done.stdout
    assert {path.name for path in sweep.iterdir()} == {*"012", "multirun.csv", "multirun.yaml", ".submitit"}
    assert "report.html" in files_below(sweep / "2")
    assert (tmp_path / "cwd/was_here").exists()
    assert not Directory(sweep / "0").outcome
    ended = Directory(sweep / "1").outcome
    assert ended
    assert ended["error"] == "injected\nand a second line"
    assert ended["overrides"] == ["features=False", "cache.enabled=False", sweep_of("bad")], "as Hydra writes them"


@pytest.mark.promise(42)
def test_jobs_of_this_process_do_too_and_one_that_never_began_is_lost(
    injected: dict[str, str], run_command: Run, tmp_path: Path
) -> None:
    sweep = tmp_path / "cwd/sweep"
    done = run_command(*CHECK, "hydra.sweep.dir=sweep", sweep_of("bad", "good"), env=injected)
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stderr == "error: injected\nand a second line\n"
    assert read_table(sweep / "multirun.csv")["exit_code"].astype(int).tolist() == [2, 0]
    jobs = [[word, "seed=1"] for word in ("lr=1", "lr=2", "lr=3")]
    Directory(tmp_path / "other/1").write("outcome", {"exit_code": 0, "overrides": jobs[1], "error": ""})
    (tmp_path / "other/1/metrics.json").write_text('{"test": {"accuracy": 0.5, "accuracy_ci95": [0.25, 0.75]}}')
    multirun._plans[:] = [multirun.Plan(tmp_path / "other", jobs)]
    assert multirun.conclude() == 1
    table = read_table(tmp_path / "other/multirun.csv")
    assert table["overrides"].tolist() == ["lr=1", "lr=2", "lr=3"]
    assert table["error"].tolist() == ["lost", "", "lost"]
    assert table["test_high"].tolist() == ["", "0.75", ""]


@pytest.mark.promise(42)
def test_a_job_that_is_refused_before_it_begins_is_not_lost(run_command: Run, pictures: Path, tmp_path: Path) -> None:
    before = sorted(pictures.rglob("*"))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.symlink_to(pictures)
    (tmp_path / "cwd/sweep").mkdir(parents=True)
    (tmp_path / "cwd/sweep/1").symlink_to(pictures / next(path.name for path in before if path.is_dir()))
    roots = f"data.root={elsewhere},{pictures},${{oc.env:NOT_SET}}"
    done = run_command("check", "-m", *CHECK[2:], roots, "hydra.sweep.dir=sweep")
    assert done.returncode == 2, done.stdout + done.stderr
    table = read_table(tmp_path / "cwd/sweep/multirun.csv")
    assert table["exit_code"].tolist() == ["0", "2", "2"]
    assert "lies inside the dataset" in table["error"][1]
    assert "NOT_SET" in table["error"][2]
    ended = Directory(tmp_path / "cwd/sweep/2").outcome  # so that a launcher that ran it elsewhere finds it
    assert ended["exit_code"] == 2
    assert sorted(pictures.rglob("*")) == before


def test_an_outcome_that_somebody_changed_is_none_and_a_multirun_without_jobs_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Directory(tmp_path / "odd/0").write("outcome", {"exit_code": "x", "overrides": 5, "error": 7})
    for sweep in ("none", "odd"):  # where another sweeper than Hydra's own chose the jobs
        multirun._plans[:] = [multirun.Plan(tmp_path / sweep, [])]
        assert multirun.conclude() == 1
        assert "no job has begun" in capsys.readouterr().err


def test_evaluations_choose_none_and_ties_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    jobs = [[f"data.root={name}", "seed=1"] for name in "ab"]
    said = []
    for split, sweep in (("test", tmp_path / "evaluations"), ("val", tmp_path / "runs")):
        for number, overrides in enumerate(jobs):
            job = Directory(sweep / str(number))
            job.write("outcome", {"exit_code": 0, "overrides": overrides, "error": ""})
            scored = {name: {"accuracy": 0.5, "loss": 2 - number, "n": 8} for name in ("test", split)}
            scored["test"] |= {"accuracy": 0.25 * number, "accuracy_ci95": [0.0, 0.5]}
            job.write("metrics", scored)
        multirun._plans[:] = [multirun.Plan(sweep, jobs)]
        assert multirun.conclude() == 0
        said.append(capsys.readouterr().out)
    evaluations, runs = said
    assert "test accuracy" in evaluations
    assert evaluations.count("0.0000 to 0.5000") == 2, "nothing is chosen, so test may be shown"
    assert "best" not in evaluations
    assert [line.split()[:4] for line in runs.splitlines() if "val" not in line and "data.root=" in line][:2] == [
        ["best", "1", "data.root=b", "0.5000"],
        ["0", "data.root=a", "0.5000"],
    ]
    assert "2 of 2 share the best val accuracy: the lower loss on val decides" in runs
    assert "accuracy 0.2500, 95 % 0.0000 to 0.5000" in runs, "the winner's number on test"


def test_jobs_that_a_launcher_no_longer_waits_for_are_waited_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    waited = []

    class Submitted:
        def wait(self) -> None:
            waited.append(self)

    def launch() -> None:
        jobs = [Submitted(), Submitted()]
        raise RuntimeError(f"Job 7 of {len(jobs)}\nhas not produced any output\nits log")

    multirun._plans[:] = [multirun.Plan(tmp_path, [["seed=0"], ["seed=1"]])]
    with pytest.raises(RuntimeError) as none_began:
        launch()
    with pytest.raises(RuntimeError):
        multirun.wait_for_other_jobs(none_began.value)
    assert not waited
    Directory(tmp_path / "0").write("outcome", {"exit_code": 0, "overrides": ["seed=0"], "error": ""})
    multirun.wait_for_other_jobs(none_began.value)
    assert len(waited) == 2
    assert capsys.readouterr().err == "error: Job 7 of 2 has not produced any output\n"
    multirun._plans.clear()


def test_a_job_that_was_cut_off_goes_on_where_it_stopped(pictures: Path, run_command: Run, tmp_path: Path) -> None:
    (tmp_path / "inject.py").write_text(KILL)
    paths = {"PYTHONPATH": os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])}
    tiny = [
        "model=timm",
        "model.name=test_resnet",
        "model.weights=null",
        "trainer.max_epochs=3",
        f"data.root={pictures}",
    ]
    sweep = [
        "train",
        "-m",
        *tiny,
        "+callback.kill._target_=inject.KillOnce",
        "hydra.sweep.dir=sweep",
        "optimizer.lr=1e-3",
    ]
    job = tmp_path / "cwd/sweep/0"
    assert run_command(*sweep, env=paths).returncode == -signal.SIGKILL
    assert not Directory(job).outcome
    other = run_command(*sweep[:-1], "optimizer.lr=1e-2", env=paths)
    assert "holds a run of another config" in other.stderr
    (tmp_path / "cwd/sweep/multirun.csv").unlink()
    done = run_command(*sweep, env=paths)
    assert done.returncode == 0, done.stderr
    assert "goes on from last.ckpt" in (job / "log.txt").read_text()
    assert len(read_table(job / "metrics.csv")) == 3
    ended = Directory(job).outcome
    assert ended
    assert ended["exit_code"] == 0


def test_a_multirun_inside_the_dataset_is_refused_and_leaves_it_as_it_was(run_command: Run, pictures: Path) -> None:
    before = sorted(pictures.rglob("*"))
    done = run_command(*CHECK, "data.root=.", "seed=0,1", cwd=pictures)
    assert done.returncode == 2
    assert done.stderr.count("lies inside the dataset") == 1
    assert sorted(pictures.rglob("*")) == before


@pytest.mark.promise(31)
def test_a_multirun_crowns_what_its_jobs_monitored(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, accuracy, loss in (("0", 0.9, 0.8), ("1", 0.8, 0.3)):
        job = Directory(tmp_path / name)
        job.path.mkdir()
        job.write("metrics", {"val": {"accuracy": accuracy, "loss": loss}, "test": {"accuracy": accuracy, "n": 10}})
        job.config_file.write_text("monitor: val/loss\n")
        job.write("outcome", {"exit_code": 0, "overrides": [f"seed={name}", "monitor=val/loss"], "error": ""})
    multirun._plans.append(multirun.Plan(tmp_path, []))
    assert multirun.conclude() == 0
    said = capsys.readouterr().out
    assert "val loss" in said
    assert "best       job 1 seed=1" in said
    assert "test       accuracy 0.8000" in said, "test is told by the task's own metric"
    table = read_table(tmp_path / "multirun.csv")
    assert table.columns.tolist()[:5] == ["job", "overrides", "val_loss", "val_accuracy", "test_accuracy"]
    assert read_table(tmp_path / "leaderboard.csv")["val loss"].tolist() == ["0.3", "0.8"]
