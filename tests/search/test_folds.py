"""Folds test each sample once, as runs of their splits would, and leave the delivered model alone."""

import json
import re
import subprocess
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from conftest import write_pictures
from ft_lightning.backbones.backbone import ImageBackbone
from ft_lightning.build import data
from ft_lightning.cli.compose import compose
from ft_lightning.runs.run import Run
from ft_lightning.search.folds import fold_plan
from ft_lightning.system.errors import UserError
from ft_lightning.tasks.multiclass import MultiClass
from ft_lightning.tasks.multilabel import MultiLabel
from ft_lightning.tasks.regression import Regression
from ft_lightning.tasks.task import Outputs
from ft_lightning.train import train

TINY = ["model=timm", "model.name=test_resnet", "precision=32-true", "data.batch_size=8", "trainer.max_epochs=3"]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images that are hard to tell apart, so that numbers differ."""
    rng, root = np.random.default_rng(0), tmp_path_factory.mktemp("folds")
    for number, name in enumerate(("ant", "bee", "cat")):
        (root / name).mkdir()
        for i in range(14):
            pixels = rng.integers(0, 120, (40, 40, 3)) + rng.integers(0, 60, 3)
            pixels[..., number] += 30
            Image.fromarray(pixels.astype(np.uint8)).save(root / name / f"{i:02d}.png")
    return root


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from callbacks.test_stored_features import save_weights

    return save_weights(tmp_path_factory.mktemp("weights") / "w.pth", "test_resnet")


def run(folder: Path, root: Path, weights: Path, *overrides: str) -> dict[str, Any]:
    folder.mkdir(parents=True)
    options = [*TINY, f"model.weights={weights}", f"data.root={root}", f"cache.dir={folder.parent / 'store'}"]
    return train(compose("train", *options, *overrides), folder)


@pytest.mark.parametrize(
    "more",
    [["cache.enabled=false"], ["head=mlp"], ["optimizer=lbfgs"], ["head.init=probe", "callback=ema"]],
    ids=["in memory", "mlp", "lbfgs", "averaged"],
)
def test_a_fold_is_the_run_of_its_splits(
    more: list[str], root: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    passed: list[int] = []
    forward = ImageBackbone.forward

    def counted(self: ImageBackbone, inputs: torch.Tensor) -> torch.Tensor:
        passed.append(len(inputs))
        return forward(self, inputs)

    monkeypatch.setattr(ImageBackbone, "forward", counted)
    run(tmp_path / "run", root, weights, "folds=3", *more)
    assert sum(passed) == 42, "each image once"
    written = Run(tmp_path / "run")
    folds, table = written.metrics["folds"], written.table("folds")
    assert folds["samples"] == [14, 14, 14]
    assert sorted(table["path"]) == sorted(written.table("split")["path"]), "each sample is tested once"
    splits = fold_plan(compose("train", "folds=3"), data(compose("train", f"data.root={root}")))[1]
    rows = [(str(root / each.name), each.label, split) for split, those in splits.items() for each in those]
    pd.DataFrame(rows, columns=["path", "label", "split"]).to_csv(tmp_path / "by_hand.csv", index=False)
    other = run(tmp_path / "other", root, weights, f"data.csv={tmp_path / 'by_hand.csv'}", *more)
    for split in ("val", "test"):
        for name in ("accuracy", "loss", "f1_macro"):
            assert folds[split][name]["values"][1] == pytest.approx(other[split][name], rel=1e-6)
    mine, theirs = table[table["fold"] == "2"], Run(tmp_path / "other").table("predictions")
    for column in ("path", "label", "predicted"):
        assert mine[column].tolist() == theirs[column].tolist()
    assert mine["p(ant)"].astype(float).to_numpy() == pytest.approx(theirs["p(ant)"].astype(float).to_numpy(), rel=1e-5)
    right = (table["label"] == table["predicted"]).mean()
    assert folds["pooled"]["n"] == 42
    assert folds["pooled"]["accuracy"] == pytest.approx(right) == pytest.approx(folds["test"]["accuracy"]["mean"])
    low, high = folds["pooled"]["accuracy_ci95"]
    assert low < right < high
    values = torch.tensor(folds["test"]["loss"]["values"], dtype=torch.float64)
    assert folds["test"]["loss"]["mean"] == pytest.approx(values.mean().item())
    assert folds["test"]["loss"]["sd"] == pytest.approx(values.std().item())


def test_the_delivered_model_is_that_of_the_plain_run(root: Path, weights: Path, tmp_path: Path) -> None:
    plain, crossed = (
        (run(tmp_path / name, root, weights, *more), Run(tmp_path / name))
        for name, more in (("plain", []), ("crossed", ["folds=4"]))
    )
    assert "folds" not in plain[0]
    assert {key: value for key, value in crossed[0].items() if key not in ("folds", "timing")} == {
        key: value for key, value in plain[0].items() if key != "timing"
    }
    for file in (
        "model/model.safetensors",
        "predictions.csv",
        "metrics.csv",
        "split.csv",
        "report_data/neighbours.csv",
    ):
        assert (crossed[1].path / file).read_bytes() == (plain[1].path / file).read_bytes(), file
    cards = [json.loads(each.record_path("model").read_text()) for _, each in (plain, crossed)]
    assert cards[0] == cards[1]


def test_each_sample_of_given_splits_is_tested_too(
    root: Path, weights: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    paths = sorted(root.rglob("*.png"))
    splits = ["train", "train", "train", "val", "test", "train"] * 7
    table = pd.DataFrame({"path": map(str, paths), "label": [path.parent.name for path in paths], "split": splits})
    table.to_csv(tmp_path / "given.csv", index=False)
    metrics = run(tmp_path / "run", root, weights, f"data.csv={tmp_path / 'given.csv'}", "folds=2")
    assert metrics["folds"]["samples"] == [21, 21]
    assert metrics["test"]["n"] == 7
    assert "folds=2 tests all samples once: the given splits are joined for it." in caplog.messages


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["finetune=full"], "folds=2 trains on stored features.*finetune=full.*2 more trainings as long as this"),
        (["augment=light"], "folds=2 trains on stored features.*augment.*2 more trainings as long as this one"),
        (["mix=mixup"], "folds=2 trains on stored features.*mix"),
        (["trainer.limit_test_batches=1"], "folds=2 trains on.*test are live .trainer.limit_test_batches=1"),
        (["trainer=ddp_cpu"], "folds=2 runs in one process"),
        (["repeats=3"], "folds=2 repeats=3: set one of them"),
        (["folds=0"], "folds=0: use a whole number from 1"),
        (["folds=two"], "folds=two: use a whole number from 1"),
        (["folds=15"], "folds=15: there are 9 samples only"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_what_cannot_be_divided_is_refused(
    overrides: list[str], said: str, root: Path, weights: Path, tmp_path: Path
) -> None:
    few = ["data.limit=3"] if "folds=15" in overrides else []
    with pytest.raises(UserError, match=said):
        run(tmp_path / "run", root, weights, "folds=2", *overrides, *few)


def test_data_that_divides_nothing_is_told_what_to_add() -> None:
    with pytest.raises(UserError, match=r"folds=3: object has no divided\(splits\): add it"):
        fold_plan(compose("train", "folds=3"), object())  # type: ignore[arg-type]


def test_a_model_that_has_seen_the_samples_is_refused(root: Path, weights: Path, tmp_path: Path) -> None:
    run(tmp_path / "earlier", root, weights)
    others = write_pictures(tmp_path / "others", {"ant": 8, "bee": 8, "cat": 8}, seed=1)
    begun = f"init_from={tmp_path / 'earlier/model'}"
    assert run(tmp_path / "fine", others, weights, begun, "folds=2")["folds"]["samples"] == [12, 12]
    with pytest.raises(UserError, match=r"folds=2 tests all samples, but the model of init_from=.* has trained on"):
        run(tmp_path / "seen", root, weights, begun, "folds=2")
    (tmp_path / "earlier/split.csv").unlink()
    with pytest.raises(UserError, match="may have trained on some"):
        run(tmp_path / "unknown", others, weights, begun, "folds=2")


def test_labels_are_folded_as_classes_are(weights: Path, tmp_path: Path) -> None:
    rng, rows = np.random.default_rng(0), []
    for i in range(48):
        has = [i % 2, i // 2 % 2]
        pixels = rng.integers(0, 120, (40, 40, 3)) + np.array([120 * has[0], 120 * has[1], 0])
        Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / f"{i}.png")
        rows.append((f"{i}.png", ";".join(name for name, one in zip(("red", "green"), has, strict=True) if one)))
    pd.DataFrame(rows, columns=["path", "label"]).to_csv(tmp_path / "t.csv", index=False)
    options = ["task=multilabel", f"data.csv={tmp_path / 't.csv'}", "folds=4", "optimizer=lbfgs"]
    folder = tmp_path / "run"
    folder.mkdir()
    train(compose("train", *TINY[:-1], f"model.weights={weights}", *options), folder)
    folds, table = Run(folder).metrics["folds"], Run(folder).table("folds").fillna("")
    assert folds["samples"] == [12] * 4
    assert sorted(table["path"]) == sorted(path for path, _ in rows)
    assert folds["pooled"]["exact_match"] == pytest.approx((table["label"] == table["predicted"]).mean())
    assert folds["pooled"]["average_precision"] > 0.9
    assert len(folds["test"]["average_precision"]["values"]) == 4


def test_answers_of_several_thresholds_are_measured_together() -> None:
    task = MultiLabel(["a", "b"], [1, 1], 4, "a")
    rows, target = torch.tensor([[1.0, -1.0], [0.2, 2.0]]), torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    parts = []
    for temperature, thresholds in ((1.0, [0.5, 0.5]), (2.0, [0.6, 0.3])):
        own = MultiLabel(["a", "b"], [1, 1], 4, "a", temperature, thresholds)
        parts.append((own, Outputs(torch.arange(2), rows, target)))
    pooled = task.pooled(parts)
    each = [own.metrics(rows, target, full=True) for own, _ in parts]
    assert [one["exact_match"] for one in each] == [0.5, 0.5], "the first is wrong in one, the second in the other"
    assert pooled["exact_match"] == 0.5
    assert pooled["hamming"] == pytest.approx(sum(one["hamming"] for one in each) / 2)
    assert pooled["loss"] == pytest.approx(sum(one["loss"] for one in each) / 2)
    assert (pooled["n"], pooled["per_label"]["b"]["threshold"]) == (4, 0.4)


@pytest.mark.parametrize(
    "task",
    [
        MultiClass(["a", "b"], [2, 2]),
        MultiLabel(["a", "b"], [1, 1], 4, "a"),
        Regression(["x", "y"], [0.0, 0.0], [1.0, 1.0]),
    ],
)
def test_a_metric_that_a_subclass_adds_is_among_those_of_all_answers(task: Any) -> None:
    class Own(type(task)):  # type: ignore[misc]
        def metrics(self, rows: torch.Tensor, target: torch.Tensor, full: bool) -> dict[str, Any]:
            return super().metrics(rows, target, full) | {"largest": rows.max().item()}

    rows = torch.tensor([[1.0, -1.0], [0.2, 2.0], [0.4, 1.0]])
    target = torch.tensor([0, 1, 1]) if isinstance(task, MultiClass) else torch.tensor([[1.0, 0], [0, 1], [1, 1]])
    parts = [(task, Outputs(torch.arange(3), scale * rows, target)) for scale in (1, 2)]
    own = Own(**{field.name: getattr(task, field.name) for field in fields(task)})
    assert own.pooled(parts) == task.pooled(parts) | {"largest": 4.0}


def test_the_command_says_what_the_folds_found(
    pictures: Path, tmp_path: Path, run_command: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    place = tmp_path / "run"
    options = ["model=timm", "model.name=test_resnet", "model.weights=null", f"data.root={pictures}", "optimizer=lbfgs"]
    done = run_command("train", *options, "folds=3", f"hydra.run.dir={place}")
    assert done.returncode == 0, done.stderr
    folds = Run(place).metrics["folds"]
    found, pooled = folds["test"]["accuracy"], folds["pooled"]
    said = f"3: test accuracy {found['mean']:.4f}, standard deviation {found['sd']:.4f}; all 36 samples "
    assert said + f"{pooled['accuracy']:.4f}, 95 % " in done.stdout
    page = (place / "report.html").read_text()
    assert "All 36 samples were tested once, each by one of 3 heads" in page
    assert f"{pooled['accuracy']:.4f} ({pooled['accuracy_ci95'][0]:.4f} to" in page


@pytest.mark.parametrize(("more", "said"), [(["folds=3"], r"Folds .* 3/3"), (["repeats=3"], r"Repeats .* 2/2")])
def test_a_bar_shows_how_many_are_done(
    more: list[str], said: str, root: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(tmp_path / "run", root, weights, *more, "trainer.max_epochs=1")
    assert re.search(said, capsys.readouterr().out)
    run(tmp_path / "quiet", root, weights, *more, "trainer.max_epochs=1", "trainer.enable_progress_bar=false")
    assert not re.search(said, capsys.readouterr().out)
