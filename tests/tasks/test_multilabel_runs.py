"""Runs of several labels, from a table to a page."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import ft_lightning
from ft_lightning.cli.compose import compose
from ft_lightning.evaluate import evaluate
from ft_lightning.pages.comparison import write as write_comparison
from ft_lightning.runs.leaderboard import leaderboard
from ft_lightning.runs.paired import Difference, difference
from ft_lightning.runs.run import Run
from ft_lightning.system.errors import UserError
from ft_lightning.system.tables import read_table
from ft_lightning.train import train
from runs.test_resume import SAME, begin, go_on

TINY = [
    *("task=multilabel", "data=image_folder", "model=timm", "model.name=test_resnet", "model.weights=null"),
    *("precision=32-true", "data.num_workers=0", "trainer.max_epochs=3", "trainer.enable_progress_bar=false"),
]


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """90 images, more or less red, green or blue: one.csv has that as "blue;red", three.csv as columns."""
    folder = tmp_path_factory.mktemp("tables")
    random, rows = np.random.default_rng(0), []
    for number in range(90):
        has = random.random(3) < 0.45
        pixels = random.integers(0, 200, (24, 24, 3)) + (has * 40 + random.integers(-25, 26, 3)).astype(int)
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"{number:02}.png")
        rows.append((f"{number:02}.png", *has.astype(int)))
    table = pd.DataFrame(rows, columns=["path", "red", "green", "blue"])
    table.to_csv(folder / "three.csv", index=False)
    names = np.array(["blue", "green", "red"])
    label = [";".join(names[row.astype(bool)]) for row in table[["blue", "green", "red"]].to_numpy()]
    table[["path"]].assign(label=label).to_csv(folder / "one.csv", index=False)
    return folder


def trained(folder: Path, tables: Path, *overrides: str) -> dict[str, Any]:
    folder.mkdir(parents=True, exist_ok=True)
    where = [f"data.csv={tables / 'one.csv'}", f"cache.dir={tables / 'store'}"]
    return train(compose("train", [*TINY, *where, *overrides]), folder)


@pytest.fixture(scope="module")
def run(tables: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("run")
    trained(folder, tables, "optimizer=lbfgs")
    return Run(folder)


def test_a_run_leaves_what_every_run_leaves(run: Run) -> None:
    metrics = run.record("metrics")
    assert metrics["data"]["labels"] == 3
    assert metrics["test"]["average_precision"] > metrics["test"]["chance_average_precision"]
    assert metrics["test"]["knn_average_precision"] is not None
    assert list(metrics["test"]["per_label"]) == ["blue", "green", "red"]
    split = run.table("split").fillna("")
    assert {"", "blue;red", "green"} <= set(split["class"])
    card = json.loads((run.model / "model.json").read_text())
    assert card["task"]["name"] == "multilabel"
    assert card["task"]["thresholds"] == [each["threshold"] for each in metrics["test"]["per_label"].values()]
    page = run.page.read_text()
    for said in ("Average precision", "Labels", "Together", "(none)", "threshold"):
        assert said in page


def test_columns_of_0_and_1_are_the_same_labels(run: Run, tables: Path, tmp_path: Path) -> None:
    columns = ["data.label=[blue,green,red]", f"data.csv={tables / 'three.csv'}", "optimizer=lbfgs"]
    metrics = trained(tmp_path / "run", tables, *columns)
    assert metrics["test"] == run.record("metrics")["test"]


def test_its_own_split_table_is_read_again(run: Run, tables: Path, tmp_path: Path) -> None:
    again = [f"data.csv={run.table_path('split')}", f"data.root={tables}", "optimizer=lbfgs", "data.label_sep='|'"]
    assert trained(tmp_path / "run", tables, *again)["test"] == run.record("metrics")["test"]


def test_it_is_evaluated_and_predicts_as_it_was_tested(run: Run, tables: Path, tmp_path: Path) -> None:
    where = [f"model_dir={run.path}", f"data.csv={tables / 'one.csv'}", "data.split=test", "precision=32-true"]
    scored = evaluate(compose("evaluate", [*where, f"cache.dir={tables / 'store'}"]), tmp_path)
    test = run.record("metrics")["test"]
    assert scored["test"] == {name: value for name, value in test.items() if name != "knn_average_precision"}
    expected = run.table("predictions").fillna("")
    found = ft_lightning.load(run).predict([tables / name for name in expected["path"]], precision="32-true")
    assert found["predicted"].tolist() == expected["predicted"].tolist()
    assert found["p(red)"].tolist() == pytest.approx(expected["p(red)"].astype(float).tolist(), abs=1e-5)


@pytest.mark.parametrize(
    "overrides",
    [
        ["finetune=full", "augment=light", "mix=mixup", "trainer.max_epochs=1"],
        ["finetune=partial", "finetune.k=1", "mix=cutmix", "trainer.max_epochs=1", "loss.positive_weights=balanced"],
        ["repeats=2", "head=mlp", "data.sampler=balanced"],
        ["callback=early_stopping", "monitor=val/f1_macro", "scheduler=plateau"],
    ],
    ids=lambda overrides: overrides[0],
)
def test_every_way_to_train_works(overrides: list[str], tables: Path, tmp_path: Path) -> None:
    metrics = trained(tmp_path / "run", tables, *overrides)
    assert 0 <= metrics["test"]["average_precision"] <= 1
    assert (tmp_path / "run/report.html").is_file()


def test_a_stopped_run_goes_on_to_the_same_bits(tables: Path, tmp_path: Path) -> None:
    overrides = [*TINY, f"data.csv={tables / 'one.csv'}", "augment=light", "trainer.max_epochs=2"]
    begin(tmp_path / "whole", *overrides)
    begin(tmp_path / "stopped", *overrides, stop_at=5)
    go_on(tmp_path / "stopped")
    for name in SAME[:4]:
        assert (tmp_path / "stopped" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["loss=cross_entropy"], "takes no label_counts and no samples, so is no loss for task=multilabel"),
        (
            ["task=multiclass", "data.empty_label=skip", "loss=binary_cross_entropy"],
            "takes no class_counts, so is no loss for task=multiclass",
        ),
        (["data.label=[red,nothing]"], "no column 'red'"),
        (["data.label=path", "data.csv=null", "data.root=FOLDER"], "data.label=path names columns of a table"),
        (["task=multiclass", "data.label=[path,label]"], "several columns; for one class, name one column"),
        (["monitor=val/accuracy"], "monitor=val/accuracy is not measured"),
        (["data.empty_label=error"], "samples have no label"),
        (["loss.positive_weights=all"], "loss.positive_weights=all is unknown"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_what_does_not_fit_is_refused(overrides: list[str], said: str, tables: Path, tmp_path: Path) -> None:
    typed = [word.replace("FOLDER", str(tables)) for word in overrides]
    with pytest.raises(UserError, match=said):
        ft_lightning.run("train", *TINY, f"data.csv={tables / 'one.csv'}", f"hydra.run.dir={tmp_path / 'run'}", *typed)


def test_two_runs_are_compared_by_a_bootstrap_of_their_metric(run: Run, tables: Path, tmp_path: Path) -> None:
    trained(tmp_path / "worse", tables, "trainer.max_epochs=1", "head.init=random", "optimizer.lr=1e-5")
    other = Run(tmp_path / "worse")
    found = difference(run, other)
    assert isinstance(found, Difference)
    scores = [one.record("metrics")["test"] for one in (run, other)]
    assert found.difference == pytest.approx(scores[0]["average_precision"] - scores[1]["average_precision"])
    assert found.ci95[0] < found.difference < found.ci95[1]
    assert found.n == scores[0]["n"]
    same = difference(run, run)
    assert same is not None
    assert (same.difference, same.ci95) == (0.0, (0.0, 0.0))
    out = Run(tmp_path / "report")
    out.path.mkdir()
    verdict = write_comparison(out, leaderboard([run, other]), [], "*")
    assert "by a bootstrap over these samples" in verdict
    assert "the average precision of" in verdict
    assert "val average precision" in read_table(out.table_path("leaderboard")).columns


def test_a_balanced_loss_weighs_positives_by_their_number() -> None:
    from ft_lightning.loss import binary_cross_entropy

    logits, targets = torch.tensor([[0.3, -1.0]]), torch.tensor([[1.0, 1.0]])
    plain, balanced = (binary_cross_entropy(kind, [1, 3], 4)(logits, targets) for kind in ("none", "balanced"))
    each = torch.nn.functional.softplus(-logits)[0]
    assert plain.item() == pytest.approx(each.mean().item())
    assert balanced.item() == pytest.approx((3 * each[0] + each[1] / 3).item() / 2)


def test_an_evaluation_without_a_column_of_its_model_is_refused(run: Run, tables: Path, tmp_path: Path) -> None:
    options = [f"model_dir={run.path}", f"data.csv={tables / 'three.csv'}", "precision=32-true"]
    for name, label in {"as": "[blue,green,red]", "turned": "[red,green,blue]"}.items():
        (tmp_path / name).mkdir()
        evaluate(compose("evaluate", *options, f"data.label={label}"), tmp_path / name)
    assert Run(tmp_path / "as").metrics["test"] == Run(tmp_path / "turned").metrics["test"]
    with pytest.raises(UserError, match=r"data\.label=\[red,blue\] lacks green"):
        evaluate(compose("evaluate", *options, "data.label=[red,blue]"), tmp_path)


def test_baselines_are_compared_on_the_same_samples(run: Run) -> None:
    test, differences = run.metrics["test"], run.metrics["differences"]
    low, high = differences.pop("commonest_exact_match")
    assert low < test["exact_match"] - test["commonest_exact_match"] < high
    better = {
        name for name in ("chance_average_precision", "knn_average_precision") if test[name] > test["average_precision"]
    }
    assert set(differences) == better, "a bootstrap is made only where it is needed"
