"""A search: survives whatever happens to its trials and its processes, and ends with a tested, reproducible winner."""

import collections
import contextlib
import gc
import json
import platform
import shlex
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
import torch
import yaml
from lightning.pytorch.callbacks import Callback
from omegaconf import OmegaConf
from sqlalchemy import NullPool

import ft_lightning
from conftest import Command, Commands, files_below, patience
from ft_lightning.backbones.backbone import ImageBackbone
from ft_lightning.cli.compose import compose
from ft_lightning.data.module import ImageFolderDataModule
from ft_lightning.deploy import model_dir
from ft_lightning.module import FineTuner
from ft_lightning.runs.config import join_study, study_name
from ft_lightning.runs.run import Run as Directory
from ft_lightning.search.results import write_best
from ft_lightning.search.study import has_outcome
from ft_lightning.system.errors import UserError
from ft_lightning.system.tables import read_table
from ft_lightning.train import train
from ft_lightning.tune import tune

Run = Callable[..., subprocess.CompletedProcess[str]]
TINY = ["model=timm", "model.name=test_resnet", "model.weights=null", "precision=32-true", "data.batch_size=8"]
SHORT = ["trainer.max_epochs=2", "trainer.enable_progress_bar=false"]


def search(folder: Path, root: Path, *overrides: str) -> dict[str, Any]:
    typed = [f"data.root={root}", *TINY, *SHORT, f"cache.dir={folder.parent / 'store'}", *overrides]
    folder.mkdir(exist_ok=True)
    return tune(compose("tune", *typed), folder, typed=typed)


def trials_of(folder: Path) -> list[optuna.trial.FrozenTrial]:
    storage = optuna.storages.RDBStorage(f"sqlite:///{folder / 'study.db'}", {"poolclass": NullPool})
    (name,) = optuna.get_all_study_names(storage)
    return optuna.load_study(study_name=name, storage=storage).trials


def test_a_search_ends_with_a_winner_that_its_command_and_its_experiment_make_again(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "study"
    space = ["tune.trials=4", "tune.space.head.dropout=null", "+tune.space.head.choices=[linear,mlp]"]
    metrics = search(folder, pictures, *space, "experiment=classic", "~trainer.deterministic")
    rows = read_table(folder / "trials.csv").to_dict("records")
    (run,) = folder.glob("trial_*")
    best = next(row for row in rows if run.name == f"trial_{row['number']}")
    assert float(best["value"]) == max(float(row["value"] or 0) for row in rows)
    assert [row["state"] for row in rows].count("complete") + [row["state"] for row in rows].count("pruned") == 4
    assert metrics["val"]["accuracy"] == pytest.approx(float(best["value"])), "what was found is what is delivered"
    assert {"model/model.json", "metrics.json", "config.yaml"} <= files_below(run)
    assert {"best.yaml", "history.png", "trials.csv", "study.db", "config.yaml"} <= files_below(folder)

    said = capsys.readouterr().out
    (line,) = [line for line in said.splitlines() if line.startswith("python -m ft_lightning.train ")]
    words = shlex.split(line)[3:]
    again = tmp_path / "again"
    again.mkdir()
    train(compose("train", *words), again)
    assert (again / "model/model.safetensors").read_bytes() == (run / "model/model.safetensors").read_bytes()

    (tmp_path / "own/conf/experiment").mkdir(parents=True)
    shutil.copy(folder / "best.yaml", tmp_path / "own/conf/experiment/best.yaml")
    command = [sys.executable, "-m", "ft_lightning.train", "experiment=best", "~trainer.deterministic", "--cfg", "job"]
    shown = subprocess.run(command, cwd=tmp_path / "own", capture_output=True, text=True, check=False)
    assert shown.returncode == 0, shown.stderr
    assert yaml.safe_load(shown.stdout) == yaml.safe_load(OmegaConf.to_yaml(compose("train", *words)))
    assert "~trainer.deterministic" in (folder / "best.yaml").read_text()


@pytest.mark.promise(31)
def test_a_search_that_val_cannot_decide_tries_the_defaults_and_says_so(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Rates of 0 leave the head as it is: every trial has the same value, and but for one the same loss."""
    folder = tmp_path / "study"
    off = ["tune.space.optimizer.weight_decay=null", "tune.space.loss=null", "tune.space.head=null"]
    space = ["~tune.space.optimizer.lr", "+tune.space.optimizer.lr.choices=[0,1e-9]", *off, "tune.trials=3"]
    search(folder, pictures, *space, "optimizer.lr=1e-8")
    rows = read_table(folder / "trials.csv")
    assert rows["optimizer.lr"].tolist()[0] == "", "the space does not hold the default"
    assert rows["value"].nunique() == 1
    losses = {trial.number: trial.user_attrs["loss"] for trial in trials_of(folder)}
    (won,) = folder.glob("trial_*")
    assert losses[int(won.name.removeprefix("trial_"))] == min(losses.values())
    assert "3 of 3 share the best val/accuracy: val cannot tell them apart" in capsys.readouterr().out
    assert "3 of 3 share" in (folder / "best.yaml").read_text()


class FailAs(Callback):
    """Fails in the ways trainings fail."""

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if self.kind == "bug":
            raise KeyError("of somebody's callback")
        if self.kind == "memory":
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        if self.kind == "interrupted":
            raise KeyboardInterrupt
        if self.kind == "diverges":
            torch.nn.init.constant_(pl_module.classifier.head.weight, float("nan"))

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        if self.kind == "interrupted":
            raise AttributeError("of what Ctrl-C has left half done")


FAILING = ["+callback.fail._target_=test_tune.FailAs", "+callback.fail.kind=no"]
KINDS = ["tune.sampler=grid", "tune.space.optimizer=null", "tune.space.loss=null", "tune.space.head=null"]


@pytest.mark.promise(25)
def test_an_error_that_follows_ctrl_c_is_no_failed_trial(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signal, "signal", lambda *args: None)  # Lightning has the process ignore another one
    with pytest.raises(KeyboardInterrupt):
        search(tmp_path / "study", pictures, FAILING[0], "+callback.fail.kind=interrupted", "tune.trials=2")
    assert not any(map(has_outcome, trials_of(tmp_path / "study")))


def test_a_bug_that_every_trial_would_meet_ends_the_search(pictures: Path, tmp_path: Path) -> None:
    space = ["tune.space.head=null", "tune.space.loss=null", "tune.space.optimizer.weight_decay=null"]
    with pytest.raises(KeyError, match="of somebody's callback"):
        search(tmp_path / "study", pictures, FAILING[0], "+callback.fail.kind=bug", *space, "tune.trials=9")
    first, second = trials_of(tmp_path / "study")
    assert has_outcome(first)
    assert not has_outcome(second), "the same command tries it again once the bug is mended"


def test_a_bug_in_building_ends_the_search_before_its_first_trial(pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        search(tmp_path / "study", pictures, "module._target_=test_tune.Broken", "tune.trials=9")
    assert not (tmp_path / "study/study.db").exists()


class Broken(FineTuner):
    def __init__(self, *parts: Any, **rest: Any) -> None:
        super().__init__(*parts, **rest)
        self.share = 1 / 0


@pytest.mark.promise(27)
def test_a_search_with_every_kind_of_failing_trial_has_a_winner(pictures: Path, tmp_path: Path) -> None:
    kinds = "+tune.space.callback.fail.kind.choices=[bug,memory,diverges,no]"
    metrics = search(tmp_path / "study", pictures, *FAILING, *KINDS, kinds)
    assert metrics["test"]["n"] > 0
    rows = read_table(tmp_path / "study/trials.csv").set_index("callback.fail.kind")
    assert rows["state"].to_dict() == {"bug": "failed", "memory": "failed", "diverges": "failed", "no": "complete"}
    assert "KeyError" in rows["error"]["bug"]
    assert "lower data.batch_size" in rows["error"]["memory"]
    assert "training loss of step" in rows["error"]["diverges"]


def test_a_search_whose_trials_all_fail_says_why(pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"None of 2 trials has a value; trial 0: KeyError"):
        search(tmp_path / "study", pictures, *FAILING, *KINDS, "+tune.space.callback.fail.kind.choices=[bug,memory]")


def test_no_trial_looks_at_the_test_split(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[int] = []
    original = ImageFolderDataModule.test_dataloader
    monkeypatch.setattr(
        ImageFolderDataModule, "test_dataloader", lambda self: looked.append(1) or original(self)
    )  # fmt: skip
    search(tmp_path / "study", pictures, "tune.trials=5")
    assert len(looked) == 1
    search(tmp_path / "study", pictures, "tune.trials=5")
    assert len(looked) == 1, "what is done is not done again"


def test_each_backbone_pays_one_pass_and_is_on_the_board(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    passed: collections.Counter[str] = collections.Counter()
    forward = ImageBackbone.forward

    def counted(self: ImageBackbone, inputs: torch.Tensor) -> torch.Tensor:
        if inputs.std() > 0:  # pictures, not what speed is measured with
            passed[self.identity.name] += len(inputs)
        return forward(self, inputs)

    monkeypatch.setattr(ImageBackbone, "forward", counted)
    choices = "tune.space.model.choices=['timm model.name=test_resnet','timm model.name=test_vit']"
    both = ["tune=backbone", choices, "+tune.space.head.choices=[linear]"]
    search(tmp_path / "study", pictures, *both)
    rows = read_table(tmp_path / "study/trials.csv")
    assert len(rows) == 2
    winner = json.loads(next((tmp_path / "study").glob("trial_*/model/model.json")).read_text())["backbone"]["name"]
    n = {split: len(pictures_of) for split, pictures_of in split_sizes(tmp_path / "study").items()}
    expected = dict.fromkeys(passed, n["train"] + n["val"])
    expected[winner] += n["test"]
    assert {name.partition(".")[0]: count for name, count in passed.items()} == {
        name.partition(".")[0]: count for name, count in expected.items()
    }
    assert set(rows["model"]) == {"timm model.name=test_resnet", "timm model.name=test_vit"}
    for column in ("accuracy_low", "accuracy_high", "samples_per_s", "parameters", "features_s"):
        assert (rows[column].astype(float) >= 0).all(), column
    assert "samples/s" in capsys.readouterr().out


def split_sizes(folder: Path) -> dict[str, list[str]]:
    table = read_table(next(folder.glob("trial_*/split.csv")))
    return {split: list(rows["path"]) for split, rows in table.groupby("split")}


def test_a_trial_that_falls_behind_is_ended_early(pictures: Path, tmp_path: Path) -> None:
    rates = "+tune.space.optimizer.lr.choices=[0.02,0.021,0.022,0.023,0.024,0.0]"
    off = ["~tune.space.optimizer.lr", "tune.space.optimizer.weight_decay=null", "tune.space.head=null"]
    more = ["tune.space.loss=null", "tune.sampler=grid", "tune.prune_after=0", "trainer.max_epochs=8"]
    search(tmp_path / "study", pictures, *off, rates, *more)
    rows = read_table(tmp_path / "study/trials.csv").set_index("optimizer.lr")
    assert rows["state"]["0.0"] == "pruned"
    assert (rows["state"] == "complete").sum() >= 5


def start(commands: Commands, root: Path, folder: Path, *overrides: str) -> Command:
    words = [f"data.root={root}", *TINY, *SHORT, f"cache.dir={folder / 'store'}", *overrides]
    return commands.start("ft_lightning.tune", *words, cwd=folder)


def stopped(how: signal.Signals, commands: Commands, pictures: Path, tmp_path: Path) -> tuple[int, str]:
    """The exit code of a search, and what it said, that a signal ends after three trials."""
    first = start(commands, pictures, tmp_path, "tune.trials=400")
    try:
        wait_for(lambda: finished(study_in(tmp_path)) >= 3)
    finally:
        first.send_signal(how)
    return first.wait(60), first.stderr


def test_an_interrupted_search_says_that_it_can_go_on(pictures: Path, commands: Commands, tmp_path: Path) -> None:
    code, said = stopped(signal.SIGINT, commands, pictures, tmp_path)
    assert code == 130, said
    assert said.count("the same command continues") == 1
    assert (study_in(tmp_path) / "trials.csv").is_file()


def test_a_search_that_is_killed_goes_on_in_two_processes_with_the_same_command(
    pictures: Path, commands: Commands, tmp_path: Path
) -> None:
    assert stopped(signal.SIGKILL, commands, pictures, tmp_path)[0] == -9
    before = sum(map(has_outcome, trials_of(study_in(tmp_path))))
    wanted = before + 6
    both = [start(commands, pictures, tmp_path, f"tune.trials={wanted}") for _ in range(2)]
    assert [command.wait() for command in both] == [0, 0]
    trials = trials_of(study_in(tmp_path))
    assert sum(trial.state.name in ("COMPLETE", "PRUNED") for trial in trials) == wanted
    assert sum(map(has_outcome, trials)) == wanted
    assert all(trial.state.is_finished() for trial in trials)
    assert len(list(study_in(tmp_path).glob("trial_*"))) == 1, "one of them has trained the winner"
    assert all("python -m ft_lightning.train" in command.stdout for command in both), "both say what was found"


def finished(folder: Path) -> int:
    """Trials with an outcome; a look that makes nothing, as Optuna's would."""
    with contextlib.closing(sqlite3.connect(f"file:{folder / 'study.db'}?mode=ro", uri=True)) as database:
        return database.execute("select count(*) from trials where state in ('COMPLETE', 'PRUNED')").fetchone()[0]


def study_in(folder: Path) -> Path:
    (found,) = (folder / "outputs/tune").iterdir()
    return found


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    met: Exception | None = None
    deadline = time.monotonic() + patience(seconds)
    while time.monotonic() < deadline:
        try:
            if condition():
                return
        except (OSError, ValueError, sqlite3.OperationalError) as error:
            met = error  # nothing is there yet
        time.sleep(0.1)
    raise AssertionError(f"it did not happen: {met!r}")


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["+resume=outputs/train/x"], "the same tune command goes on by itself"),
        (["tune.space.optimizer.lr=0.1"], r"tune\.space\.optimizer\.lr=0\.1: use choices"),
        (["+tune.space.optimizer.rate.choices=[1]"], r"tune\.space\.optimizer\.rate: train has no key optimizer\.rate"),
        (["+tune.space.optimiser.choices=[sgd]"], r"tune\.space\.optimiser: train has no key optimiser"),
        (["tune.sampler=guess"], r"tune\.sampler=guess is unknown"),
        (["data.root=/no/such/folder"], "/no/such/folder"),
        (["model.name=no_such_net"], "no_such_net"),
        (["trainer=ddp_cpu"], "a search runs in one process"),
        (["tune.storage=nonsense"], r"tune\.storage=nonsense"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_what_cannot_be_searched_ends_with_a_sentence(
    overrides: list[str], said: str, pictures: Path, tmp_path: Path
) -> None:
    with pytest.raises(Exception, match=said) as raised:
        search(tmp_path / "study", pictures, *overrides)
    assert isinstance(raised.value, UserError) or isinstance(raised.value.__cause__, UserError)


def test_the_command_refuses_to_resume_and_to_be_one_of_several(pictures: Path, run_command: Run) -> None:
    (run := pictures.parent / "run").mkdir()
    (run / "config.yaml").write_text("seed: 0\n")
    done = run_command("tune", f"data.root={pictures}", *TINY, f"resume={run}")
    assert done.returncode == 2
    assert "the same tune command goes on by itself" in done.stderr
    assert (run / "config.yaml").read_text() == "seed: 0\n"


def test_pictures_that_cannot_be_used_end_a_search_at_once(pictures: Path, tmp_path: Path) -> None:
    picture = (pictures / "ant/00.png").read_bytes()
    (pictures / "ant/00.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    typed = [f"data.root={pictures}", *TINY, *SHORT, f"cache.dir={tmp_path / 'store'}"]
    with pytest.raises(UserError, match=r"ant/00\.png"):
        ft_lightning.run("tune", *typed, run_dir=tmp_path / "study")
    assert json.loads((tmp_path / "study/problems.json").read_text())
    (pictures / "ant/00.png").write_bytes(picture)
    assert search(tmp_path / "study", pictures, "tune.trials=1")["test"]["n"] > 0, "mended, it goes on"


def test_a_winner_that_was_interrupted_goes_on(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, save = tmp_path / "study", model_dir.save

    def killed(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(model_dir, "save", killed)
    with pytest.raises(KeyboardInterrupt):
        search(folder, pictures, "tune.trials=1")
    monkeypatch.setattr(model_dir, "save", save)
    assert search(folder, pictures, "tune.trials=1")["test"]["n"] > 0
    assert "model/model.json" in files_below(folder / "trial_0")


def test_other_values_are_another_study_and_the_number_of_trials_is_not_one_of_them(
    pictures: Path, tmp_path: Path
) -> None:
    def place(*overrides: str) -> str:
        return study_name(compose("tune", f"data.root={pictures}", *TINY, *overrides))

    first = place()
    assert place("tune.trials=3", "cache.dir=/elsewhere", "data.num_workers=1") == first
    assert len({first, place("optimizer.betas=[0.8,0.99]"), place("tune=finetune"), place("seed=1")}) == 4
    search(tmp_path / "study", pictures, "tune.trials=1")
    with pytest.raises(UserError, match=r"holds a search with optimizer\.betas\.?.*its trials would not be comparable"):
        search(tmp_path / "study", pictures, "tune.trials=1", "optimizer.betas=[0.8,0.99]")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/mine.jpg").write_bytes(b"mine")
    with pytest.raises(UserError, match=r"holds something else \(mine\.jpg\)"):
        search(tmp_path / "photos", pictures)
    assert files_below(tmp_path / "photos") == {"mine.jpg"}


@pytest.mark.parametrize(
    "typo", ["nonsense", "sqlite:////no/such/folder/study.db", "oracle://host/db", "postgres://host/db"]
)
def test_after_a_storage_that_cannot_be_opened_the_right_one_goes_on(typo: str, pictures: Path, tmp_path: Path) -> None:
    folder = tmp_path / "study"
    with pytest.raises(UserError, match=r"tune\.storage="):
        search(folder, pictures, "tune.trials=1", f"tune.storage='{typo}'")
    assert files_below(folder) == set(), "nothing says that a search is there"
    assert search(folder, pictures, "tune.trials=1")["test"]["n"] > 0


def test_a_key_of_the_space_that_there_is_not_is_met_with_the_nearest(pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"train has no key optimizer\.lrate: did you mean tune\.space\.optimizer\.lr\?"
    ):
        search(tmp_path / "study", pictures, "+tune.space.optimizer.lrate={low:0.1,high:1}")
    (tmp_path / "other").mkdir()
    (tmp_path / "other/tune.log").write_text("of hydra/job_logging=default")
    assert search(tmp_path / "other", pictures, "tune.trials=1")["test"]["n"] > 0


def test_a_password_is_not_written_down(tmp_path: Path) -> None:
    join_study(compose("tune", "tune.storage='postgresql://me:secret@host/db'", "data.root=/pictures"), tmp_path)
    assert "secret" not in (tmp_path / "config.yaml").read_text()


def test_values_of_the_environment_stay_out_of_what_a_search_leaves(
    pictures: Path, tmp_path: Path, run_command: Run
) -> None:
    words = [f"data.root={pictures}", *TINY, "tune.trials=1", "+secret=${oc.env:TOKEN}", "hydra.run.dir=study"]
    done = run_command("tune", *words, env={"TOKEN": "hush-0123456789"})
    assert done.returncode == 0, done.stderr
    assert "hush-0123456789" not in done.stdout
    study = tmp_path / "cwd/study"
    for name in files_below(study):
        assert b"hush-0123456789" not in (study / name).read_bytes(), name
    for name in ("best.yaml", "trial_0/config.yaml"):
        assert "${oc.env:TOKEN}" in (study / name).read_text()


def test_a_search_whose_data_have_changed_is_refused(pictures: Path, tmp_path: Path) -> None:
    search(tmp_path / "study", pictures, "tune.trials=1")
    (pictures / "ant/00.png").unlink()
    with pytest.raises(UserError, match=r"files of the dataset are new, gone.*ant/00\.png"):
        search(tmp_path / "study", pictures, "tune.trials=2")


def test_what_another_search_has_left_is_not_taken_for_the_winner(pictures: Path, tmp_path: Path) -> None:
    folder = tmp_path / "study"
    search(folder, pictures, "tune.trials=1")
    with pytest.raises(UserError, match=r"holds a search with tune\.storage=None"):
        search(folder, pictures, "tune.trials=1", f"tune.storage=sqlite:///{tmp_path}/other.db")
    search(folder, pictures, "tune.trials=1", f"cache.dir={tmp_path}/elsewhere")  # where features are changes nothing
    (folder / "study.db").unlink()
    config = (folder / "trial_0/config.yaml").read_text()
    (folder / "trial_0/config.yaml").write_text(config.replace("max_epochs: 2", "max_epochs: 3"))
    with pytest.raises(UserError, match=r"trial_0 holds a run of another config"):
        search(folder, pictures, "tune.trials=1")


def test_a_searched_seed_makes_its_own_random_backbone(pictures: Path, tmp_path: Path) -> None:
    off = ["tune.space.optimizer=null", "tune.space.head=null", "tune.space.loss=null", "monitor=val/loss"]
    seeds = ["+tune.space.seed.choices=[1,2]", "tune.sampler=grid", "monitor_mode=min"]
    metrics = search(tmp_path / "study", pictures, *off, *seeds)
    values = read_table(tmp_path / "study/trials.csv")["value"].astype(float)
    assert metrics["calibration"]["before"]["val"]["loss"] == pytest.approx(values.min(), rel=1e-5)
    assert values.nunique() == 2


@pytest.mark.parametrize(
    "words",
    [
        ["finetune=full", "finetune=partial", "finetune.k=2"],
        ["callback=[ema,early_stopping]", "logger=[csv,tensorboard]"],
        ["experiment=[classic,debug]", "optimizer.lr=0.5", "optimizer.lr=0.25"],
        ["model=timm", "model.name='a, b'", "+model.arguments.drop_path_rate=0.1", "data.root='/a b/c'"],
    ],
    ids=" ".join,
)
def test_an_experiment_is_what_was_typed(words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "conf/experiment"
    folder.mkdir(parents=True)
    run = Directory(tmp_path / "run")
    run.write("metrics", {"test": {"accuracy": 0.5, "accuracy_ci95": [0.4, 0.6]}})
    write_best(words, folder, run, "")
    typed = compose("train", *words)
    monkeypatch.chdir(tmp_path)
    assert OmegaConf.to_container(compose("train", "experiment=best")) == OmegaConf.to_container(typed)


def test_any_number_of_processes_may_begin_at_once(tmp_path: Path) -> None:
    (tmp_path / f".config.yaml.999999@{platform.node()}.tmp").write_text("of a killed process")
    begin = "import sys\nfrom pathlib import Path\nfrom ft_lightning.cli.compose import compose\n"
    begin += "from ft_lightning.runs.config import join_study\ncfg = compose('tune', 'data.root=/p')\n"
    begin += "for _ in range(40):\n    (Path(sys.argv[1]) / 'config.yaml').unlink(missing_ok=True)\n"
    begin += "    join_study(cfg, Path(sys.argv[1]))\n"
    both = [subprocess.Popen([sys.executable, "-c", begin, str(tmp_path)], stderr=subprocess.PIPE) for _ in range(2)]
    assert [process.communicate(timeout=patience(60))[1] for process in both] == [b"", b""]


def test_a_search_keeps_nothing_of_the_trials_that_are_over(pictures: Path, tmp_path: Path) -> None:
    fail = ["+tune.space.callback.fail.kind.choices=[memory]", "+tune.space.seed={low:0,high:9}", "tune.trials=10"]
    quiet = ["finetune=full", "tune.sampler=grid", "data.limit=4", *FAILING, *KINDS]

    def alive() -> int:
        return sum(type(thing) is FineTuner for thing in gc.get_objects())

    gc.collect()
    before = alive()
    with pytest.raises(UserError, match="None of 10 trials"):
        search(tmp_path / "study", pictures, *quiet, *fail)
    assert alive() - before < 5, "of ten"
