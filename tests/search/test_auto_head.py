"""head=auto takes the head that is better on val, and delivers the same run as if that head had been named."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conftest import write_pictures
from ft_lightning.cli.compose import compose
from ft_lightning.deploy import model_dir
from ft_lightning.runs.config import write_config
from ft_lightning.runs.run import Run
from ft_lightning.search import workbench
from ft_lightning.system.errors import UserError
from ft_lightning.train import train
from ft_lightning.tune import tune
from runs.test_baselines import corners

TINY = ["model=timm", "model.name=test_resnet", "precision=32-true", "head.init=random"]


@pytest.fixture(scope="module")
def easy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pictures(tmp_path_factory.mktemp("easy") / "pictures", {"ant": 14, "bee": 14, "cat": 14})


@pytest.fixture(scope="module")
def hard(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set that no plane divides."""
    root = tmp_path_factory.mktemp("hard") / "pictures"
    corners(root)
    return root


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from callbacks.test_stored_features import save_weights

    return save_weights(tmp_path_factory.mktemp("weights") / "w.pth", "test_resnet")


def run(folder: Path, root: Path, weights: Path, *overrides: str) -> dict[str, Any]:
    folder.mkdir(parents=True, exist_ok=True)
    options = [*TINY, f"model.weights={weights}", f"data.root={root}", f"cache.dir={folder.parent / 'store'}"]
    cfg = compose("train", *options, *overrides)
    write_config(cfg, folder)
    return train(cfg, folder)


def same_files(one: Path, other: Path) -> None:
    for file in ("model/model.safetensors", "predictions.csv", "metrics.csv"):
        assert (one / file).read_bytes() == (other / file).read_bytes(), file


@pytest.mark.parametrize("more", [[], ["cache.enabled=false"]], ids=["stored", "in memory"])
def test_equal_heads_are_decided_for_the_simpler_one(
    more: list[str], easy: Path, weights: Path, tmp_path: Path
) -> None:
    metrics = run(tmp_path / "auto", easy, weights, "head=auto", *more)
    tried = metrics["heads"]["tried"]
    assert list(tried) == ["linear", "mlp"]
    card = json.loads((tmp_path / "auto/model/model.json").read_text())
    assert metrics["heads"]["taken"] == card["head"]["name"]
    best = min(tried, key=lambda name: (-tried[name]["val/accuracy"], tried[name]["val/loss"]))
    assert metrics["heads"]["taken"] == best
    named = {"linear": ["optimizer=lbfgs"], "mlp": ["head=mlp"]}[best]
    other = run(tmp_path / "named", easy, weights, *named)
    same_files(tmp_path / "auto", tmp_path / "named")
    assert metrics["test"] == other["test"]
    timing = metrics["timing"]
    assert timing["cache"] == {"hits": 0, "computed": 42}
    parts = [value for name, value in timing.items() if name.endswith("_s") and name not in ("total_s", "images_per_s")]
    assert sum(parts) == pytest.approx(timing["total_s"]), "each second belongs to one phase"


def test_the_mlp_is_taken_where_it_is_better(
    hard: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ft_lightning.optim.STRENGTHS", (1e4,))  # a linear head that may not have weights
    metrics = run(tmp_path / "auto", hard, weights, "head=auto", "head.hidden=64", "trainer.max_epochs=20")
    tried = metrics["heads"]["tried"]
    assert tried["mlp"]["val/loss"] < tried["linear"]["val/loss"], "a case in which the choice matters"
    said = " ".join(capsys.readouterr().out.split())
    assert f"mlp val/accuracy {tried['mlp']['val/accuracy']:.4f}, loss " in said
    assert ": mlp is taken" in said
    page = (tmp_path / "auto/report.html").read_text()
    assert "The mlp head was taken by val" in page
    assert f">{tried['linear']['val/accuracy']:.4f}<" in page
    model = model_dir.load(tmp_path / "auto")
    assert model.card["head"] == {"name": "mlp", "hidden": 64, "dropout": 0.2}
    assert model.predict(next((hard / "test/odd").iterdir()))["predicted"].tolist() == ["odd"]
    assert "name: auto" in (tmp_path / "auto/config.yaml").read_text(), "the config is what was asked for"
    run(tmp_path / "named", hard, weights, "head=mlp", "head.hidden=64", "trainer.max_epochs=20")
    same_files(tmp_path / "auto", tmp_path / "named")


def test_a_resumed_run_keeps_its_head_and_ends_as_if_never_stopped(
    easy: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ft_lightning.callbacks.checkpoints import WithinEpoch

    own = ["head=auto", "head.hidden=8", "trainer.max_epochs=4", "optimizer=lbfgs"]
    run(tmp_path / "whole", easy, weights, *own)
    with monkeypatch.context() as patch:

        def stop(self: WithinEpoch, trainer: Any, module: Any, *_: Any) -> None:
            if trainer.current_epoch == 2:  # of the run itself: what is compared has no such callback
                raise KeyboardInterrupt

        patch.setattr(WithinEpoch, "on_train_batch_end", stop)
        with pytest.raises((KeyboardInterrupt, SystemExit)):
            run(tmp_path / "cut", easy, weights, *own)
    assert not (tmp_path / "cut/metrics.json").exists()
    taken = Run(tmp_path / "cut").record("heads")["taken"]

    def compared_again(*_: Any, **__: Any) -> None:
        raise AssertionError("its head is known")

    monkeypatch.setattr(workbench.Workbench, "train_heads", compared_again)
    metrics = run(tmp_path / "cut", easy, weights, *own, f"resume={tmp_path / 'cut'}")
    assert metrics["heads"] == Run(tmp_path / "whole").metrics["heads"]
    assert metrics["heads"]["taken"] == taken
    same_files(tmp_path / "cut", tmp_path / "whole")


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["finetune=partial"], "head=auto compares heads on stored features, but finetune=partial trains the backbone"),
        (["finetune=full"], "finetune=full trains the backbone: use head=linear or head=mlp"),
        (["augment=light"], "head=auto trains on stored.*augment changes its images.: use head=linear or head=mlp"),
        (["mix=mixup"], "head=auto trains on stored features, but those of train are live .mix"),
        (
            ["folds=2", "trainer.limit_val_batches=1"],
            "folds=2 trains on stored.*val are live .trainer.limit_val_batches",
        ),
        (["trainer=ddp_cpu"], "head=auto runs in one process"),
        (["callback=ema"], "head=auto tries head=linear: callback=ema averages over steps, but optimizer=lbfgs"),
        (["data.sampler=balanced"], "head=auto tries head=linear: data.sampler=balanced: optimizer=lbfgs looks at all"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_where_heads_cannot_be_compared_it_is_refused(
    overrides: list[str], said: str, easy: Path, weights: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=said):
        run(tmp_path / "run", easy, weights, "head=auto", *overrides)


def test_folds_and_repeats_choose_their_own_heads(easy: Path, weights: Path, tmp_path: Path) -> None:
    crossed = run(tmp_path / "folds", easy, weights, "head=auto", "folds=2", "trainer.max_epochs=3")
    assert crossed["folds"]["samples"] == [21, 21]
    again = run(tmp_path / "repeats", easy, weights, "head=auto", "repeats=2", "trainer.max_epochs=3")
    assert len(again["repeats"]["test"]["accuracy"]["values"]) == 2
    same_files(tmp_path / "folds", tmp_path / "repeats")


def test_a_search_may_try_it(hard: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ft_lightning.optim.STRENGTHS", (1e4,))
    space = ["tune.sampler=grid", "tune.trials=null", "tune.space.optimizer=null", "tune.space.loss=null"]
    heads = ["~tune.space.head.dropout", "+tune.space.head.choices=[linear,auto]"]
    options = [*TINY, f"model.weights={weights}", f"data.root={hard}", f"cache.dir={tmp_path / 'store'}"]
    words = [*options, *space, *heads, "trainer.max_epochs=10"]
    folder = tmp_path / "study"
    folder.mkdir()
    metrics = tune(compose("tune", *words), folder, words)
    trials = Run(folder).table("trials").set_index("head")
    assert trials["state"].tolist() == ["complete", "complete"]
    assert trials.loc[["linear", "auto"], "head_taken"].tolist() == ["", "mlp"]
    if "heads" in metrics:  # auto won
        assert metrics["heads"]["taken"] == "mlp"


def test_labels_choose_a_head_too(
    weights: Path, tmp_path: Path, run_command: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    import numpy as np
    import pandas as pd
    from PIL import Image

    rng, rows = np.random.default_rng(0), []
    for i in range(48):
        pixels = rng.integers(0, 120, (40, 40, 3)) + np.array([120 * (i % 2), 120 * (i // 2 % 2), 0])
        Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / f"{i}.png")
        rows.append((f"{i}.png", ["", "red", "green", "green;red"][i % 4]))
    pd.DataFrame(rows, columns=["path", "label"]).to_csv(tmp_path / "t.csv", index=False)
    options = ["task=multilabel", f"data.csv={tmp_path / 't.csv'}", f"model.weights={weights}", "trainer.max_epochs=4"]
    done = run_command("train", *TINY[:3], *options, "head=auto", "folds=3", f"hydra.run.dir={tmp_path / 'run'}")
    assert done.returncode == 0, done.stderr
    assert "head       linear val/average_precision" in done.stdout
    assert Run(tmp_path / "run").metrics["heads"]["monitor"] == "val/average_precision"
