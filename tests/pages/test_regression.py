"""The page of a run of numbers says what its files say."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from ft_lightning.pages import run as run_page
from ft_lightning.runs.run import Run
from ft_lightning.tasks.regression import Regression
from ft_lightning.tasks.task import Outputs
from tasks.test_regression import made_up

NAMES = ["<b>x</b>", "$y$"]


def run_of(folder: Path, targets: list[str], n: int = 40) -> Run:
    """A finished run, written without a training."""
    task = Regression(targets, [1.0] * len(targets), [2.0] * len(targets))
    both = {
        split: Outputs(torch.arange(n), *made_up(n, len(targets), seed)) for seed, split in enumerate(("val", "test"))
    }
    task = task.calibrate(both["val"].rows, both["val"].target)
    metrics: dict[str, Any] = {name: task.metrics(one.rows, one.target, full=True) for name, one in both.items()}
    metrics["test"]["knn_mae"] = 0.777
    details = task.details(both)
    about = {"timing": {"total_s": 1.0}, "data": {"location": "here", **task.facts()}, "versions": {"torch": "1"}}
    (folder / "report_data").mkdir(parents=True)
    (folder / "model").mkdir()
    run = Run(folder)
    run.write("metrics", {**metrics, **details.metrics, **about})
    labels = [";".join(f"{value:.6f}" for value in row) for row in task.original(both["test"].target).tolist()]
    names = [f"{number:02}.png" for number in range(n)]
    run.write("predictions", task.table(names, both["test"].rows, labels))
    for name, table in details.tables.items():
        run.write(name, table)
    (folder / "model/model.json").write_text(json.dumps(task.to_dict()))
    (folder / "config.yaml").write_text("seed: 77\n")
    parts = ["train" if number % 2 else "test" for number in range(n)]
    rows = [f"{name},{label},{part},{name}," for name, label, part in zip(names, labels, parts, strict=True)]
    (folder / "split.csv").write_text("\n".join(["path,class,split,digest,excluded", *rows]))
    epochs = "epoch,train/loss,val/loss,val/mae\n0,1.5,1.25,0.9\n1,1.0,0.75,0.5\n"
    (folder / "metrics.csv").write_text(epochs)
    return run


def page_of(run: Run) -> str:
    return run_page.write(run).read_text()


def change(run: Run, what: Callable[[dict[str, Any]], object]) -> None:
    metrics = run.record("metrics")
    what(metrics)
    run.write("metrics", metrics)


CHANGES: dict[str, tuple[Callable[[dict[str, Any]], object], list[str]]] = {
    "mae": (lambda m: m["test"].update(mae=0.12341), ["0.123 off on average", "0.1234 ("]),
    "interval": (lambda m: m["test"].update(mae_ci95=[0.1111, 0.2222]), ["0.111 to 0.222", "(0.1111 to 0.2222)"]),
    "n": (lambda m: m["test"].update(n=54321), ["on 54,321 test samples"]),
    "r2": (lambda m: m["test"].update(r2=0.31311), [">0.3131 ("]),
    "rmse": (lambda m: m["test"].update(rmse=0.61616), [">0.6162 ("]),
    "spearman": (lambda m: m["test"].update(spearman=0.71717), [">0.7172 ("]),
    "mean": (lambda m: m["test"].update(mean_mae=0.9191), ["off by 0.919", ">0.9191<"]),
    "mean's others": (lambda m: m["test"].update(mean_rmse=0.8181, mean_r2=-0.0707), [">0.8181<", ">-0.0707<"]),
    "words": (lambda m: m["test"].update(tfidf_mae=0.28282), [">0.2828<", "counts words (TF-IDF) by 0.283"]),
    "neighbours": (lambda m: m["test"].update(knn_mae=0.27181), [">0.2718<", "by 0.272"]),
    "coverage": (lambda m: m["test"].update(coverage90=0.84848), [">0.8485 ("]),
    "val": (lambda m: m["val"].update(mae=0.13579), [">0.1358<"]),
    "half width": (lambda m: m["interval"]["half_width"].update({NAMES[0]: 3.1313}), [">3.1313<"]),
    "target": (lambda m: m["test"]["per_target"][NAMES[1]].update(rmse=0.45454), [">0.4545<"]),
    "trained on": (lambda m: m["data"].update(trained_on=39), ["39 of these samples were in this model"]),
    "undefined": (lambda m: m["test"].update(spearman=None, spearman_ci95=None), []),
}  # fmt: skip


@pytest.fixture(scope="module")
def of_two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_of(tmp_path_factory.mktemp("of two") / "run", NAMES).path


@pytest.mark.usefixtures("blank_figures")
@pytest.mark.parametrize("name", CHANGES)
def test_the_page_says_what_metrics_json_says(name: str, of_two: Path, tmp_path: Path) -> None:
    run = Run(shutil.copytree(of_two, tmp_path / "run"))
    do, expected = CHANGES[name]
    before = page_of(run)
    change(run, do)
    after = page_of(run)
    for said in expected:
        assert said in after
        assert said not in before
    assert after != before
    assert "Left out" not in after


def test_the_worst_samples_come_first_with_label_and_prediction(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", ["age"])
    table = run.table("predictions")
    table.loc[3, ["label", "predicted"]] = ["100.00000000000421", "-7.4999"]
    run.write("predictions", table)
    html = page_of(run)
    captions = re.findall(r"100 → -7\.5", html)
    assert len(captions) == 1
    assert html.index("100 → -7.5") < html.index(" → ", html.index("100 → -7.5") + 10)
    assert "Best MAE on val in epoch 2" in html
    assert ">Targets<" not in html, "there is one"
    assert "age" in html


def test_names_of_targets_cannot_become_markup(tmp_path: Path) -> None:
    html = page_of(run_of(tmp_path / "run", NAMES))
    assert "<b>x</b>" not in html
    assert "&lt;b&gt;x&lt;/b&gt;" in html
    assert ">Targets<" in html


def test_samples_are_counted_by_ranges_in_the_order_of_numbers(tmp_path: Path) -> None:
    html = page_of(run_of(tmp_path / "run", ["age"]))
    ranges = [(float(low), float(high)) for low, high in re.findall(r">(-?[\d.e-]+) to (-?[\d.e-]+)</td>", html)]
    assert len(ranges) == 4
    assert ranges == sorted(ranges)


def test_intervals_of_too_few_samples_say_so(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", ["age"], n=6)
    assert "val has only 6 samples" in page_of(run)
    assert "val has only" not in page_of(run_of(tmp_path / "other", ["age"], n=9))


def test_many_targets_are_drawn_up_to_six(tmp_path: Path) -> None:
    html = page_of(run_of(tmp_path / "run", [f"target {number}" for number in range(8)]))
    assert "The first 6 of 8 targets." in html
    assert "target 7" in html, "in the table"


def test_an_evaluation_has_no_epochs_and_its_model_s_interval(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", ["age"])
    (run.path / "metrics.csv").unlink()
    run.table_path("coverage").unlink()
    change(run, lambda m: m.pop("val"))
    change(run, lambda m: m["interval"].pop("val"))
    change(run, lambda m: m["test"].pop("knn_mae"))
    html = page_of(run)
    assert ">Training<" not in html
    assert "half width, age" in html
    assert "similar training samples" not in html
