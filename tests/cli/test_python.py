"""`ft_lightning.run` does in this process what the command does, and raises where the command exits."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import ft_lightning
from conftest import files_below
from ft_lightning.__main__ import VERBS
from ft_lightning.cli.compose import compose
from ft_lightning.data.problems import DataProblemsError
from ft_lightning.runs.run import Run
from ft_lightning.system.errors import UserError
from ft_lightning.system.tables import read_table
from test_train import RUN_FILES, but_previews

TINY = ["model=timm", "model.name=test_resnet", "model.weights=null", "trainer.max_epochs=1", "precision=32-true"]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)  # of a command that another test ran in this process
    return folder


def test_the_face_is_light_and_whole() -> None:
    script = "import sys, ft_lightning; print({'torch', 'lightning', 'hydra', 'pandas'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
    assert all(getattr(ft_lightning, name) for name in ft_lightning.__all__)
    with pytest.raises(AttributeError):
        _ = ft_lightning.no_such_name


def test_it_knows_of_each_command_what_its_module_says() -> None:
    for name in set(VERBS) - {"rename"}:
        verb = ft_lightning._verb(name)
        assert verb is sys.modules[f"ft_lightning.{name}"].VERB  # type: ignore[attr-defined]
        assert verb.name == verb.job.__name__ == name
        assert (verb.distributed, verb.shared) == (name == "train", name == "tune")


def test_one_process_trains_goes_on_evaluates_predicts_checks_and_compares(pictures: Path, home: Path) -> None:
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    root = f"data.root={pictures}"
    run = ft_lightning.run("train", root, *TINY)
    assert run.path.parent == Path("outputs/train")
    assert but_previews(run.path) == RUN_FILES
    typed = ["python", "-m", "ft_lightning.train", root, *TINY]
    assert run.command == typed
    assert Run(run.path).outcome == {"exit_code": 0, "overrides": typed[3:], "error": ""}
    assert ft_lightning.load(run).task.class_names == ["ant", "bee", "cat"]

    longer = ft_lightning.run("train", f"resume={run.path}", "trainer.max_epochs=2")
    assert longer.path == run.path
    assert len(read_table(run.path / "metrics.csv")) == 2
    with pytest.raises(UserError, match=r"hydra\.run\.dir: .* leave it out"):
        ft_lightning.run("train", f"resume={run.path}", run_dir="elsewhere")

    scored = ft_lightning.run("evaluate", f"model_dir={run.path}", root, run_dir=home / "it's scored")
    assert scored.path == home / "it's scored"
    assert json.loads((scored.path / "metrics.json").read_text())["test"]["n"] == 36
    answers = ft_lightning.run("predict", f"model_dir={run.path}", f"input={pictures}")
    assert len(read_table(answers.path / "predictions.csv")) == 36
    looked = ft_lightning.run("check", root, "features=false")
    assert "issues.csv" in files_below(looked.path)
    compared = ft_lightning.run("report", "runs='outputs/train/*'")
    assert len(read_table(compared.path / "leaderboard.csv")) == 1
    assert {number: signal.getsignal(number) for number in handlers} == handlers
    assert "HYDRA_FULL_ERROR" not in os.environ


def test_a_search_has_its_study_s_directory(pictures: Path) -> None:
    words = ["tune", f"data.root={pictures}", *TINY, "tune.trials=2", "trainer.enable_progress_bar=false"]
    first = ft_lightning.run(*words)
    assert first.path.parent == Path("outputs/tune")
    assert len(read_table(first.path / "trials.csv")) == 2
    assert ft_lightning.run(*words).path == first.path, "the same search goes on"
    assert not Run(first.path).outcome, "any number of processes may work there"


OTHER_PROGRAM = """
import sys
import hydra
import ft_lightning

@hydra.main(version_base="1.3", config_path=None)
def main(cfg):
    print("done:", ft_lightning.run(*WORDS, run_dir="own"))

sys.argv[1:] = ["-m", "hydra.sweep.dir=theirs"]
main()
"""


def test_a_multirun_of_another_program_is_not_ours(pictures: Path, home: Path) -> None:
    words = ["tune", f"data.root={pictures}", *TINY, "tune.trials=1", "trainer.enable_progress_bar=false"]
    (home / "other.py").write_text(f"WORDS = {words!r}\n{OTHER_PROGRAM}")
    done = subprocess.run([sys.executable, "other.py"], check=False, capture_output=True, text=True)
    assert "done: own" in done.stdout, done.stderr


def test_what_the_user_can_fix_is_raised_and_stays_with_the_run(pictures: Path, home: Path) -> None:
    with pytest.raises(UserError, match="no command: use train"):
        ft_lightning.run("trian")
    with pytest.raises(UserError, match="optimiser"):
        ft_lightning.run("train", "optimiser.lr=1")
    with pytest.raises(UserError, match="cannot be read: quote"):
        ft_lightning.run("train", "data.root=~/my images")
    with pytest.raises(UserError, match=r"for example 'data\.root=\"\\\$\{\"'\."):
        ft_lightning.run("train", "data.root=${")
    with pytest.raises(UserError, match="quote the value, for example 'text=\"🙂 who\\?\"'"):
        ft_lightning.run("predict", "text=🙂 who?")
    assert not list(home.iterdir())
    with pytest.raises(UserError, match="no such folder"):
        ft_lightning.run("train", "data.root=/none", run_dir="run")
    said = Run(home / "run").outcome
    assert said
    assert (said["exit_code"], said["error"]) == (2, "data.root=/none: no such folder.")
    (pictures / "ant/torn.png").touch()
    with pytest.raises(DataProblemsError, match="an empty file"):
        ft_lightning.run("train", f"data.root={pictures}", *TINY, run_dir="run")
    assert len(json.loads((home / "run/problems.json").read_text())) == 1
    assert files_below(home / "run") == {"config.yaml", "outcome.json", "problems.json", "log.txt"}
    (pictures / "ant/torn.png").unlink()
    (home / "run/notes.txt").touch()
    with pytest.raises(UserError, match="holds a run already, or something else"):
        ft_lightning.run("train", f"data.root={pictures}", *TINY, run_dir="run")
    with pytest.raises(UserError, match="lies inside the dataset"):
        ft_lightning.run("train", f"data.root={pictures}", *TINY, run_dir=pictures / "runs/one")
    assert not (pictures / "runs").exists()


def test_a_bug_stays_itself(pictures: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "broken_data.py").write_text("def make():\n    return 1 / 0\n")
    monkeypatch.syspath_prepend(str(home))
    with pytest.raises(Exception, match="division by zero") as raised:
        ft_lightning.run("check", "data.create._target_=broken_data.make", run_dir="run")
    assert not isinstance(raised.value, UserError)
    said = Run(home / "run").outcome
    assert said
    assert said["exit_code"] == 1


def test_overrides_may_be_a_list_as_they_are_of_a_shell(pictures: Path, home: Path) -> None:
    assert compose("train", ["seed=5", "data.limit=3"]) == compose("train", "seed=5", "data.limit=3")
    run = ft_lightning.run("check", [f"data.root={pictures}", "features=false"], run_dir=home / "check")
    assert run.outcome["overrides"] == [f"data.root={pictures}", "features=false"]
    assert Run.find(str(run.path)) == Run.find([str(run.path)])
