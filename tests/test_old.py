"""What commit 80eaa17 left in tests/old goes on with the code of today: a run, a stopped run, a study, and names."""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from hydra.utils import get_object

from composing import own_keys
from ft_lightning.cli.compose import compose
from ft_lightning.evaluate import evaluate
from ft_lightning.predict import predict
from ft_lightning.report import report
from ft_lightning.runs.resume import config_of
from ft_lightning.search.study import has_outcome
from ft_lightning.system.tables import read_table
from ft_lightning.train import train
from test_tune import trials_of

Run = Callable[..., subprocess.CompletedProcess[str]]
OLD = Path(__file__).parent / "old"
HOW = ["precision=32-true", "num_workers=0"]
STUDY = [  # as tests/old/README.md has it: another word would be another study
    "model=timm",
    "model.name=test_vit",
    "+model.arguments={img_size:16,patch_size:4,embed_dim:8,depth:2,num_heads:2}",
    "precision=32-true",
    "data.num_workers=0",
    "data.batch_size=4",
    "trainer.enable_progress_bar=false",
    "data.root=${oc.env:PLACE}/images",
    "model.weights=${oc.env:PLACE}/weights.safetensors",
    "tune.space.optimizer.lr.low=1e-2",
    "trainer.max_epochs=10",
]
# Every name of conf/ in its history; users' conf files and the config.yaml of old runs hold them for ever.
TARGETS = [
    "datetime.timedelta",
    "ft_lightning.backbones.load_backbone",
    "ft_lightning.callbacks.early_stopping.EarlyStopping",
    "ft_lightning.data.ImageFolderDataModule",
    "ft_lightning.digits.write_digits",
    "ft_lightning.heads.build_head",
    "ft_lightning.loss.cross_entropy",
    "ft_lightning.mix.cutmix",
    "ft_lightning.mix.mixup",
    "ft_lightning.mix.none",
    "ft_lightning.optim.HeadSolver",
    "ft_lightning.optim.constant",
    "ft_lightning.optim.cosine",
    "ft_lightning.optim.onecycle",
    "ft_lightning.optim.plateau",
    "ft_lightning.preprocess.augmentation",
    "lightning.Trainer",
    "lightning.pytorch.callbacks.EarlyStopping",
    "lightning.pytorch.callbacks.Timer",
    "lightning.pytorch.callbacks.WeightAveraging",
    "lightning.pytorch.loggers.TensorBoardLogger",
    "lightning.pytorch.loggers.WandbLogger",
    "lightning.pytorch.strategies.DDPStrategy",
    "torch.optim.Adam",
    "torch.optim.AdamW",
    "torch.optim.SGD",
    "torch.optim.swa_utils.get_ema_multi_avg_fn",
]


@pytest.fixture
def old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of tests/old. Its study names the images by the variable PLACE, so its config says no folder."""
    folder = Path(shutil.copytree(OLD, tmp_path / "old"))
    monkeypatch.setenv("PLACE", str(folder))
    return folder


def moved(old: Path) -> list[str]:
    """Where the files of a run are now: its config names a folder of the machine that made it."""
    return [f"data.root={old / 'images'}", f"model.weights={old / 'weights.safetensors'}"]


def lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


def test_an_old_model_scores_and_answers_as_it_did(old: Path, tmp_path: Path) -> None:
    before = read_table(old / "run/predictions.csv")
    before[["path", "label"]].to_csv(tmp_path / "test.csv", index=False)
    data = [f"data.csv={tmp_path / 'test.csv'}", f"data.root={old / 'images'}"]
    scored = evaluate(compose("evaluate", f"model_dir={old / 'run'}", *data, *HOW), tmp_path)
    kept = json.loads((old / "run/metrics.json").read_text())["test"]
    assert (scored["test"]["accuracy"], scored["test"]["n"]) == (kept["accuracy"], kept["n"])
    assert scored["test"]["loss"] == pytest.approx(kept["loss"], abs=1e-4)
    assert scored["data"]["trained_on"] == 0, "as its split.csv says"

    output = tmp_path / "answers.csv"
    asked = [f"model_dir={old / 'run/model'}", f"input={old / 'images'}", f"output={output}"]
    assert predict(compose("predict", *asked, *HOW), tmp_path) == {"n": 36, "unreadable": 0}
    answers = read_table(output)
    answers["path"] = [Path(path).relative_to(old / "images").as_posix() for path in answers["path"]]
    after = answers.set_index("path").loc[before["path"]]
    assert after["predicted"].tolist() == before["predicted"].tolist()
    for column in ("probability", "p(ant)", "p(bee)", "p(cat)"):
        assert after[column].astype(float).tolist() == pytest.approx(before[column].astype(float).tolist(), abs=1e-4)


def test_an_old_run_has_its_page_and_its_place_in_a_comparison(old: Path, tmp_path: Path) -> None:
    report(compose("report", f"run={old / 'run'}"), tmp_path)
    page = (old / "run/report.html").read_text(encoding="utf-8")
    accuracy = json.loads((old / "run/metrics.json").read_text())["test"]["accuracy"]
    assert f"{accuracy:.1%} of 6 test samples right" in page
    assert "finetune=partial augment=light" in page, "the command that made it"

    report(compose("report", f"runs=[{old / 'run'},{old / 'study'}]"), tmp_path)
    board = pd.read_csv(tmp_path / "leaderboard.csv")
    assert sorted(board["finetune"]) == ["frozen", "partial"]
    assert board["test accuracy"].max() == accuracy


def test_an_old_run_goes_on(old: Path, run_command: Run) -> None:
    before = pd.read_csv(old / "run/metrics.csv")
    done = run_command("train", f"resume={old / 'run'}", *moved(old), "trainer.max_epochs=3")
    assert done.returncode == 0, done.stderr
    assert "goes on from last.ckpt" in done.stdout
    after = pd.read_csv(old / "run/metrics.csv")
    assert len(after) == 3
    pd.testing.assert_frame_equal(after[before.columns][:2], before)
    assert "/somewhere" not in "\n".join(lines(old / "run/config.yaml")[1:])


def test_an_old_run_of_lbfgs_goes_on(old: Path) -> None:
    """Its checkpoint, of the second epoch, holds the solver as an optimizer; the third row was written already."""
    before = pd.read_csv(old / "lbfgs/metrics.csv")
    train(config_of(old / "lbfgs", compose("train", *moved(old)), moved(old)), old / "lbfgs")
    after = pd.read_csv(old / "lbfgs/metrics.csv")
    pd.testing.assert_frame_equal(after[before.columns][:2], before[:2])
    assert after["train/weight_decay"].tolist() == pytest.approx([1e-1, 1e-2, 1e-3])
    assert after["val/loss"].tolist() == pytest.approx(before["val/loss"].tolist(), abs=0.01)
    assert (old / "lbfgs/model/model.safetensors").is_file()


def test_an_old_study_goes_on(old: Path, run_command: Run) -> None:
    before = lines(old / "study/trials.csv")
    done = run_command("tune", *STUDY, *own_keys(), "tune.trials=3", f"hydra.run.dir={old / 'study'}")
    assert done.returncode == 0, done.stderr
    assert "2 of them done" in done.stdout
    assert lines(old / "study/trials.csv")[:3] == before, "a heading and two trials"
    assert [has_outcome(trial) for trial in trials_of(old / "study")] == [True, True, True]
    assert (old / "study/history.png").is_file()


@pytest.mark.parametrize("name", TARGETS)
def test_a_name_that_a_config_may_hold_is_there(name: str) -> None:
    assert callable(get_object(name))
