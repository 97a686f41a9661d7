"""Runs of numbers, from a table to a page."""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from sklearn.linear_model import Ridge
from sklearn.metrics import mean_absolute_error

import ft_lightning
from ft_lightning.cli.compose import compose
from ft_lightning.evaluate import evaluate
from ft_lightning.features.extract import Computing, open_store
from ft_lightning.features.fill import fill
from ft_lightning.pages.comparison import write as write_comparison
from ft_lightning.runs.leaderboard import leaderboard
from ft_lightning.runs.paired import beside
from ft_lightning.runs.run import Run
from ft_lightning.system.errors import UserError
from ft_lightning.system.tables import read_table
from ft_lightning.tasks.regression import Regression
from ft_lightning.train import train
from runs.test_resume import SAME, begin, go_on

TINY = [
    *("task=regression", "data=image_folder", "model=timm", "model.name=test_resnet", "model.weights=null"),
    *("precision=32-true", "data.num_workers=0", "trainer.max_epochs=3", "trainer.enable_progress_bar=false"),
]
SOLVED = ["optimizer=lbfgs", "loss=squared_error"]


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """90 noisy images with their brightness, and how far up a line is."""
    folder = tmp_path_factory.mktemp("table")
    random, rows = np.random.default_rng(0), []
    for number in range(90):
        brightness, line = random.integers(20, 200), random.integers(0, 22)
        pixels = brightness + random.integers(-20, 21, (24, 24, 3))
        pixels[line : line + 3, :, 0] = 255
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"{number:02}.png")
        rows.append((f"{number:02}.png", f"{brightness / 4:.2f}", line, "1,5", "" if number == 5 else line))
    table = pd.DataFrame(rows, columns=["path", "bright", "up", "comma", "gap"])
    table.to_csv(folder / "table.csv", index=False)
    return folder / "table.csv"


def trained(folder: Path, table: Path, *overrides: str) -> dict[str, Any]:
    folder.mkdir(parents=True, exist_ok=True)
    where = [f"data.csv={table}", "data.label=bright", f"cache.dir={table.parent / 'store'}"]
    return train(compose("train", *TINY, *where, *overrides), folder)


@pytest.fixture(scope="module")
def run(table: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("run")
    trained(folder, table, *SOLVED)
    return Run(folder)


@pytest.fixture(scope="module")
def both(table: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("both")
    trained(folder, table, "data.label=[up,bright]", "optimizer=lbfgs")
    return Run(folder)


def test_a_run_leaves_what_every_run_leaves(run: Run) -> None:
    metrics = run.record("metrics")
    test = metrics["test"]
    assert metrics["data"]["targets"] == ["bright"]
    assert test["mae"] < test["mean_mae"]
    assert test["knn_mae"] is not None
    predictions = run.table("predictions")
    assert predictions.columns.tolist() == ["path", "label", "predicted", "low", "high"]
    numbers = predictions.drop(columns="path").astype(float)
    assert test["mae"] == pytest.approx(mean_absolute_error(numbers["label"], numbers["predicted"]), rel=1e-4)
    within = ((numbers["low"] <= numbers["label"]) & (numbers["label"] <= numbers["high"])).mean()
    assert test["coverage90"] == pytest.approx(within)
    card = json.loads((run.model / "model.json").read_text())
    assert card["task"]["name"] == "regression"
    assert card["task"]["half_width"] == [metrics["interval"]["half_width"]["bright"]]
    assert (numbers["high"] - numbers["low"]).to_numpy() == pytest.approx(2 * card["task"]["half_width"][0])
    assert (run.score("test").metric, run.score("test").direction) == ("mae", "min")
    split = run.table("split")
    assert split["class"].astype(float).between(5, 50).all()
    assert set(run.table("coverage")["percent"]) == {"50", "60", "70", "80", "90"}
    page = run.page.read_text()
    titles = ("Predicted against true", "Residuals", "Worst errors", "Intervals")
    for said in (*titles, "off on average, on", "Samples by range", "Best MAE on val"):
        assert said in page


def test_several_targets_have_columns_and_numbers_of_their_own(both: Run) -> None:
    test = both.record("metrics")["test"]
    assert list(test["per_target"]) == ["up", "bright"]
    assert test["mae"] == pytest.approx((test["per_target"]["up"]["mae"] + test["per_target"]["bright"]["mae"]) / 2)
    table = both.table("predictions")
    assert table.columns.tolist() == [
        *("path", "label", "predicted(up)", "low(up)", "high(up)", "predicted(bright)", "low(bright)", "high(bright)"),
    ]
    true = np.array([label.split(";") for label in table["label"]], dtype=float)
    assert test["per_target"]["bright"]["mae"] == pytest.approx(
        mean_absolute_error(true[:, 1], table["predicted(bright)"].astype(float)), rel=1e-4
    )
    assert ">Targets<" in both.page.read_text()


def test_the_optimum_of_the_squared_error_is_scikit_learn_s_ridge(run: Run, table: Path) -> None:
    """Weights of one L2 strength: of a mean of squares here, of a sum there."""
    model = ft_lightning.load(run)
    backbone = model.classifier.backbone
    reader = backbone.reader
    how = Computing(reader, torch.device("cpu"), "32-true", 0, False)
    split = run.table("split")
    cfg = compose("train", *TINY, f"data.csv={table}", "data.label=bright")
    from ft_lightning import build

    data = build.data(cfg)
    samples = data.splits["train"]
    assert [sample.name for sample in samples] == split[split["split"] == "train"]["path"].tolist()
    rows = fill(open_store(str(table.parent / "store"), backbone, how), backbone, samples, how)
    features = rows[torch.arange(len(rows))].double().numpy()
    strength = run.table("metrics").astype(float).sort_values(["val/mae", "val/loss"]).iloc[0]["train/weight_decay"]
    targets = model.task.encode([sample.label for sample in samples]).double().numpy()
    fitted = Ridge(alpha=strength * len(samples) / 2).fit(features, targets)
    head = model.classifier.head
    with torch.no_grad():
        found = head(torch.from_numpy(features).float()).numpy()
    assert found == pytest.approx(fitted.predict(features).reshape(-1, 1), abs=2e-2)


def test_its_own_split_table_is_read_again(both: Run, table: Path, tmp_path: Path) -> None:
    again = [f"data.csv={both.table_path('split')}", f"data.root={table.parent}", "data.label=null", "optimizer=lbfgs"]
    found, expected = trained(tmp_path / "run", table, *again)["test"], both.record("metrics")["test"]
    assert list(found.pop("per_target")) == ["value_1", "value_2"]
    assert found == {name: value for name, value in expected.items() if name != "per_target"}


@pytest.mark.parametrize("name", ["run", "both"])
def test_it_is_evaluated_and_predicts_as_it_was_tested(
    name: str, table: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    run: Run = request.getfixturevalue(name)
    where = [f"model_dir={run.path}", f"data.csv={table}", "data.split=test", "precision=32-true"]
    where.append("data.label=" + ("bright" if name == "run" else "[up,bright]"))
    scored = evaluate(compose("evaluate", *where, f"cache.dir={table.parent / 'store'}"), tmp_path)
    test = run.record("metrics")["test"]
    assert scored["test"] == {name: value for name, value in test.items() if name != "knn_mae"}
    assert "Predicted against true" in Run(tmp_path).page.read_text()
    expected = run.table("predictions")
    found = ft_lightning.load(run).predict([table.parent / name for name in expected["path"]], precision="32-true")
    for column in expected.columns[2:]:
        assert found[column].tolist() == pytest.approx(expected[column].astype(float).tolist(), abs=1e-3)


def test_a_file_that_cannot_be_read_has_no_number(run: Run, tmp_path: Path, table: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"no image")
    model = ft_lightning.load(run)
    found = model.predict([tmp_path / "broken.png", table.parent / "00.png"])
    assert found[["predicted", "low", "high"]].isna().all(axis=1).tolist() == [True, False]
    assert model.task.tally(found)["predicted"].count(" to ") == 1


@pytest.mark.parametrize(
    "overrides",
    [
        ["finetune=full", "augment=light", "trainer.max_epochs=1"],
        ["finetune=partial", "finetune.k=1", "loss=squared_error", "trainer.max_epochs=1"],
        ["repeats=2", "head=mlp", "data.sampler=balanced"],
        ["callback=early_stopping", "monitor=val/r2", "scheduler=plateau"],
        ["folds=3", "data.weight=up"],
        ["head=auto", "data.label=[up,bright]"],
        ["cache.enabled=false", "data.limit=4", "loss.delta=0.1"],
        ["precision=bf16-mixed", "data.label=[bright,up]"],
    ],
    ids=lambda overrides: overrides[0],
)
def test_every_way_to_train_works(overrides: list[str], table: Path, tmp_path: Path) -> None:
    metrics = trained(tmp_path / "run", table, *overrides)
    assert metrics["test"]["mae"] > 0
    assert (tmp_path / "run/report.html").is_file()
    if "data.limit=4" in overrides:
        assert sum(metrics["data"]["samples"].values()) <= 4 * 9
    if "folds=3" in overrides:
        pooled, answers = metrics["folds"]["pooled"], Run(tmp_path / "run").table("folds")
        label, predicted = (answers[name].astype(float) for name in ("label", "predicted"))
        assert pooled["mae"] == pytest.approx((label - predicted).abs().mean(), rel=1e-4)
        assert pooled["spearman"] == pytest.approx(label.corr(predicted, method="spearman"))
    if "repeats=2" in overrides:
        assert set(metrics["repeats"]["test"]) == {"mae", "rmse", "r2", "spearman", "loss"}


def test_a_stopped_run_goes_on_to_the_same_bits(table: Path, tmp_path: Path) -> None:
    overrides = [*TINY, f"data.csv={table}", "data.label=[bright,up]", "augment=light", "trainer.max_epochs=2"]
    begin(tmp_path / "whole", *overrides)
    begin(tmp_path / "stopped", *overrides, stop_at=3)
    go_on(tmp_path / "stopped")
    for name in SAME[:4]:
        assert (tmp_path / "stopped" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name


def test_two_processes_report_as_one(
    run: Run, table: Path, tmp_path: Path, run_command: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    where = [f"data.csv={table}", "data.label=bright", f"cache.dir={table.parent / 'store'}"]
    tiny = [word for word in TINY if "max_epochs" not in word]
    done = run_command("train", *tiny, *where, *SOLVED, "trainer=ddp_cpu", f"hydra.run.dir={tmp_path / 'two'}")
    assert done.returncode == 0, done.stderr
    for split in ("val", "test"):
        one, two = run.record("metrics")[split], Run(tmp_path / "two").record("metrics")[split]
        assert two["n"] == one["n"]
        names = ("mae", "r2", "loss", "mean_mae", "coverage90")
        assert {name: two[name] for name in names} == pytest.approx({name: one[name] for name in names}, rel=1e-3)
    said = done.stdout
    assert "target" in said
    assert "bright: mean" in said
    assert "coverage of 90 % intervals" in said


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["loss=cross_entropy"], "cross_entropy wants class_counts, which neither its keys nor task=regression give"),
        (["task=multiclass", "loss=huber", "data.label=up"], "so is no loss for task=multiclass"),
        (["mix=mixup", "finetune=full"], "mixup mixes classes, which task=regression does not have: use mix=none"),
        (["loss.delta=0"], r"loss\.delta=0 does not fit: use a number above 0"),
        (["data.label=comma"], r"90 labels cannot be read \('1,5' has a comma: write 1\.5\): 00\.png"),
        (["data.label=[up,gap]"], r"1 label cannot be read: 05\.png \(gap: a blank beside numbers\)"),
        (["data.empty_label=none"], r"empty_label=none: a sample of task=regression cannot be without a label"),
        (["data.label=path"], r"'00\.png' is no number"),
        (["monitor=val/accuracy"], "monitor=val/accuracy is not measured each epoch: use one of val/mae"),
        (["monitor_mode=max"], "lower values of val/mae are better"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_in_words(
    overrides: list[str], said: str, table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = [f"data.csv={table}", "data.label=bright", f"cache.dir={table.parent / 'store'}"]
    with pytest.raises(UserError, match=said):
        ft_lightning.run("train", *TINY, *where, *overrides, f"hydra.run.dir={tmp_path / 'run'}")


def test_runs_are_compared_by_their_error_the_lowest_first(run: Run, table: Path, tmp_path: Path) -> None:
    trained(tmp_path / "worse", table, "trainer.max_epochs=1", "optimizer.lr=1e-5")
    board = leaderboard([Run(tmp_path / "worse"), run])
    assert board["run"].tolist() == [str(run), str(tmp_path / "worse")]
    assert board["test set"].tolist() == ["A", "A"]
    assert {"val MAE", "test MAE", "RMSE", "R²"} <= set(board.columns)
    page = Run(tmp_path / "comparison")
    page.path.mkdir()
    said = write_comparison(page, board, [], "*")
    assert "lower than" in said
    assert "by a bootstrap over these samples" in said


def test_of_two_runs_with_the_same_answers_nothing_can_turn_around(run: Run, tmp_path: Path) -> None:
    same, page = Run(tmp_path / "same"), Run(tmp_path / "comparison")
    shutil.copytree(run.path, same.path)
    page.path.mkdir()
    said = write_comparison(page, leaderboard([same, run]), [], "*")
    assert "is the same as that of" in said
    assert "turn that around" not in said


def test_a_search_takes_the_lowest_error(table: Path, tmp_path: Path) -> None:
    where = [f"data.csv={table}", "data.label=bright", f"cache.dir={table.parent / 'store'}", "tune.trials=3"]
    found = ft_lightning.run("tune", *TINY, *where, f"hydra.run.dir={tmp_path / 'study'}")
    trials = read_table(found.table_path("trials"))
    assert "val/mae" in trials.columns or "mae" in " ".join(trials.columns)
    assert found.best.is_file()


def test_an_evaluation_finds_the_columns_of_its_model_by_name(both: Run, table: Path, tmp_path: Path) -> None:
    scores = []
    for name, label in {"as": "[up,bright]", "turned": "[bright,up]"}.items():
        (tmp_path / name).mkdir()
        options = [f"model_dir={both.path}", f"data.csv={table}", f"data.label={label}", "data.split=test"]
        scores.append(evaluate(compose("evaluate", *options, "precision=32-true"), tmp_path / name)["test"])
    assert scores[0] == scores[1]
    options = [f"model_dir={both.path}", f"data.csv={table}", "data.label=[up,gap]"]
    with pytest.raises(UserError, match=r"this model predicts up, bright: use data\.label=\[up,bright\]"):
        evaluate(compose("evaluate", *options), tmp_path)


def test_baselines_are_compared_on_the_same_samples(run: Run) -> None:
    answers = run.table("predictions")
    errors = (answers["predicted"].astype(float) - answers["label"].astype(float)).abs()
    split = run.table("split")
    mean = split.loc[split["split"] == "train", "class"].astype(float).mean()
    behind = errors.mean() - (answers["label"].astype(float) - mean).abs().mean()
    assert run.metrics["differences"] == {}, "none is better"
    found = beside(Regression, "mae", answers, answers.assign(predicted=mean))
    assert found is not None
    assert found[0] < behind < found[1] < 0


@pytest.mark.parametrize("label", ["[bright,bright]", "[]"])
def test_columns_are_named_once(label: str, table: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data\.label"):
        ft_lightning.run("train", *TINY, f"data.csv={table}", f"data.label={label}", run_dir=tmp_path / "run")


def test_numbers_without_a_finite_deviation_are_refused_in_a_check_too(table: Path, tmp_path: Path) -> None:
    rows = pd.read_csv(table).assign(path=lambda rows: [str(table.parent / path) for path in rows["path"]])
    rows["bright"] = rows["bright"].astype(float)
    rows.loc[3, "bright"] = 1e200
    rows.to_csv(tmp_path / "t.csv", index=False)
    options = [*TINY[:2], f"data.csv={tmp_path / 't.csv'}", "data.label=bright"]
    for verb, more in (("train", []), ("check", ["features=false"])):
        with pytest.raises(UserError, match=r"go up to 1e\+200: write them in a larger unit"):
            ft_lightning.run(verb, *options, *more, run_dir=tmp_path / verb)
