"""A baseline that beats the delivered model is said, with what to try; one within its interval is not."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from ft_lightning.cli.compose import compose
from ft_lightning.runs import paired
from ft_lightning.runs.baselines import better_baseline
from ft_lightning.runs.config import write_config
from ft_lightning.runs.run import Run
from ft_lightning.tasks.intervals import difference_interval
from ft_lightning.tasks.multiclass import MultiClass
from ft_lightning.tasks.multilabel import MultiLabel
from ft_lightning.tasks.registry import TASKS
from ft_lightning.tasks.regression import Regression
from ft_lightning.train import train

ACCURACY = {"accuracy": 0.7, "accuracy_ci95": [0.6, 0.8], "majority_accuracy": 0.3}
PRECISION = {"average_precision": 0.7, "average_precision_ci95": [0.6, 0.8], "exact_match_ci95": [0.1, 0.2]}


def run_of(
    folder: Path,
    test: dict[str, Any],
    task: str = "multiclass",
    typed: tuple[str, ...] = (),
    mode: str = "frozen",
    kind: str = "image",
) -> Run:
    (folder / "model").mkdir(parents=True)
    run = Run(folder)
    run.write("metrics", {"val": {}, "test": test})
    run.write("model", {"task": {"name": task}, "finetune": {"mode": mode}, "preprocess": {"kind": kind}})
    write_config(compose("train", *typed), folder)
    return run


@pytest.mark.parametrize(
    ("test", "task", "said"),
    [
        (ACCURACY | {"knn_accuracy": 0.81}, "multiclass", "Answering by the most similar training samples.* 0.8100"),
        (ACCURACY | {"knn_accuracy": 0.79}, "multiclass", ""),
        ({"accuracy": 1.0, "accuracy_ci95": [0.92, 1.0 - 1e-16], "knn_accuracy": 1.0}, "multiclass", ""),  # older runs
        (ACCURACY | {"knn_accuracy": None, "majority_accuracy": 0.9}, "multiclass", "Always answering the commonest c"),
        ({"knn_accuracy": 0.9}, "multiclass", ""),
        ({"knn_mae": 1.0, "mae": 3.0, "mae_ci95": [3.0, 3.0]}, "regression", ""),
        ({"knn_mae": 1.0, "mae": 3.0, "mae_ci95": [2.9, 3.1]}, "regression", "has MAE 1.0000 on test"),
        (
            PRECISION | {"knn_average_precision": 0.9},
            "multilabel",
            "has average precision 0.9000 on.*0.6000 to 0.8",
        ),
        (PRECISION | {"chance_average_precision": 0.9}, "multilabel", "Chance has average precision 0.9000"),
        (PRECISION | {"commonest_exact_match": 0.3}, "multilabel", "commonest labels of train has exact match 0.3000"),
        (PRECISION | {"commonest_exact_match": 0.15}, "multilabel", ""),
    ],
)
def test_a_better_baseline_is_said_outside_of_noise(test: dict[str, Any], task: str, said: str, tmp_path: Path) -> None:
    sentence = better_baseline(run_of(tmp_path / "run", test, task))
    if not said:
        assert sentence == ""
        return
    assert re.search(said, sentence), sentence
    assert sentence.endswith(": try head=mlp, optimizer=lbfgs, finetune=partial or another model.")


@pytest.mark.parametrize(
    ("typed", "mode", "tries"),
    [
        (("head=mlp",), "frozen", "optimizer=lbfgs, finetune=partial or another model"),
        (("optimizer=lbfgs",), "frozen", "head=mlp, finetune=partial or another model"),
        (("head=mlp", "optimizer=lbfgs"), "frozen", "finetune=partial or another model"),
        (("finetune=partial",), "partial", "head=mlp, finetune=full or another model"),
        (("finetune=lora",), "lora", "head=mlp, finetune=full or another model"),
        (("finetune=full", "head=mlp"), "full", "another model"),
    ],
)
def test_what_was_done_is_not_advised(typed: tuple[str, ...], mode: str, tries: str, tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", ACCURACY | {"knn_accuracy": 0.9}, typed=typed, mode=mode)
    assert better_baseline(run).endswith(f": try {tries}.")


@pytest.mark.parametrize(
    ("test", "mode", "said"),
    [
        (
            {"tfidf_accuracy": 0.81},
            "frozen",
            "head=mlp, optimizer=lbfgs, finetune=lora, finetune=full or another model",
        ),
        ({"tfidf_accuracy": 0.81, "knn_accuracy": 0.5}, "lora", "head=mlp, finetune=full or another model"),
        ({"tfidf_accuracy": 0.81, "knn_accuracy": None}, "full", "head=mlp or another model"),
        ({"tfidf_accuracy": 0.79}, "frozen", ""),
        ({"tfidf_accuracy": None}, "frozen", ""),
    ],
)
def test_of_texts_counting_words_may_be_better(test: dict[str, Any], mode: str, said: str, tmp_path: Path) -> None:
    sentence = better_baseline(run_of(tmp_path / "run", ACCURACY | test, mode=mode, kind="text"))
    assert sentence.startswith("A linear model that counts words (TF-IDF) has accuracy 0.8100 on test") == bool(said)
    assert sentence.endswith(f": try {said}.") == bool(said)
    assert "image" not in sentence


@pytest.mark.parametrize(
    ("task", "name", "better", "worse"),
    [("multilabel", "average_precision", 0.9, 0.7), ("regression", "mae", 0.1, 0.3)],
)
def test_the_words_of_other_tasks_count_too(task: str, name: str, better: float, worse: float, tmp_path: Path) -> None:
    bounds = {f"{name}_ci95": [0.2, 0.4] if task == "regression" else [0.6, 0.8]}
    for value in (better, worse):
        run = run_of(tmp_path / str(value), bounds | {f"tfidf_{name}": value}, task, kind="text")
        assert ("TF-IDF" in better_baseline(run)) == (value == better)


def test_an_evaluation_trains_nothing_so_nothing_is_advised(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", {})
    run.write("metrics", {"test": ACCURACY | {"majority_accuracy": 0.9}})
    assert better_baseline(run) == ""


def test_each_baseline_of_a_task_is_of_a_metric_with_a_direction() -> None:
    for task in TASKS.values():
        assert task.baselines or task.generates, "a model that writes is compared with its base"
        for name in task.baselines:
            assert name in task.headline
            assert task.directions[name.partition("_")[2]] in ("max", "min")


def corners(root: Path) -> None:
    """Images of eight colours, the corners of the cube, neighbours of another class each: no plane divides them."""
    rng = np.random.default_rng(0)
    for corner in range(8):
        for i in range(40):
            split = "test" if i < 12 else "val" if i < 16 else "train"
            bits = [corner >> bit & 1 for bit in range(3)]
            folder = root / split / ("even", "odd")[sum(bits) % 2]
            folder.mkdir(parents=True, exist_ok=True)
            pixels = 200 * np.array(bits) + rng.integers(0, 30, (32, 32, 3))
            Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{corner}_{i}.png")


@pytest.mark.parametrize("hard", [True, False], ids=["neighbours alone", "a plane does"])
def test_page_and_terminal_say_it_of_a_set_that_no_plane_divides(
    hard: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from callbacks.test_stored_features import save_weights
    from conftest import write_pictures

    if hard:
        corners(tmp_path / "data")
    else:
        write_pictures(tmp_path / "data", {"ant": 20, "bee": 20})
    weights = save_weights(tmp_path / "w.pth", "test_resnet")
    options = ["model=timm", "model.name=test_resnet", f"model.weights={weights}", "precision=32-true"]
    cfg = compose("train", *options, f"data.root={tmp_path / 'data'}", "trainer.max_epochs=2", "optimizer.lr=1e-3")
    (tmp_path / "run").mkdir()
    write_config(cfg, tmp_path / "run")
    train(cfg, tmp_path / "run")
    said, page = capsys.readouterr().out, (tmp_path / "run/report.html").read_text()
    sentence = better_baseline(Run(tmp_path / "run"))
    assert bool(sentence) == hard
    bounds = Run(tmp_path / "run").metrics["differences"].get("knn_accuracy")
    assert (bounds is not None and bounds[1] < 0) == hard
    assert ("by the most similar training samples, without any training, has" in page) == hard
    assert ("baseline   Answering by the most similar" in said) == hard


@pytest.mark.parametrize(
    ("differences", "said"),
    [
        (
            {"knn_accuracy": [-0.2, -0.01]},
            r"has accuracy 0\.7500 on test, this model 0\.7000 \(95 % .* -0\.2000 to -0\.01",
        ),
        ({"knn_accuracy": [-0.2, 0.01]}, ""),
        ({"knn_accuracy": [0.1, 0.2]}, ""),
        ({"majority_accuracy": [-0.3, -0.1]}, "Always answering the commonest class of train has accuracy 0.3000"),
    ],
)
def test_a_paired_difference_decides_where_it_is_known(
    differences: dict[str, list[float]], said: str, tmp_path: Path
) -> None:
    run = run_of(tmp_path / "run", {})
    test = ACCURACY | {"knn_accuracy": 0.75}
    run.write("metrics", {"val": {}, "test": test, "differences": differences})
    assert re.search(said, better_baseline(run)) if said else better_baseline(run) == ""


def test_fewer_errors_are_better(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", {}, "regression")
    test = {"mae": 3.0, "mae_ci95": [2.0, 4.0], "mean_mae": 9.0, "knn_mae": 2.5}
    for low, high, better in ((0.1, 0.9, True), (-0.1, 0.9, False), (-0.9, -0.1, False)):
        run.write("metrics", {"val": {}, "test": test, "differences": {"knn_mae": [low, high]}})
        assert ("has MAE 2.5000 on test, this model 3.0000" in better_baseline(run)) == better


def answers_of(task: type[Any], predicted: list[str], **more: Any) -> pd.DataFrame:
    return pd.DataFrame({"path": [f"{i}" for i in range(len(predicted))], "label": ["a", "b"] * 20} | more).assign(
        predicted=predicted
    )


def test_the_difference_of_right_answers_and_of_a_metric() -> None:
    truth, rng = ["a", "b"] * 20, np.random.default_rng(0)
    right, half = answers_of(MultiClass, truth), answers_of(MultiClass, ["a"] * 40)
    assert paired.beside(MultiClass, "accuracy", right, half) == difference_interval(20, 0, 40)
    assert paired.beside(MultiClass, "f1_macro", right, half) is None
    sure = np.array([[1.0, 0.0], [0.0, 1.0]] * 20)
    scores = [dict(zip(("p(a)", "p(b)"), each.T, strict=True)) for each in (sure, 0 * sure, rng.random((40, 2)))]
    known, constant, chance = (answers_of(MultiLabel, truth, **each) for each in scores)
    found = paired.beside(MultiLabel, "average_precision", known, constant)
    assert found is not None
    assert found[0] <= 0.5 <= found[1], "a constant has the share of samples with the label"
    assert paired.beside(MultiLabel, "average_precision", known, known) == (0.0, 0.0)
    assert paired.beside(MultiLabel, "exact_match", known, answers_of(MultiLabel, ["a"] * 40)) is not None
    assert paired.beside(MultiLabel, "f1_micro", known, chance) is None


class Ratio(Regression):
    """Numbers of which another metric decides."""

    monitor = "ratio"


def test_a_task_made_of_another_has_no_interval_of_that_one_s_metric() -> None:
    one, other = (
        pd.DataFrame({"path": list("abc"), "label": ["1", "2", "4"], "predicted": values})
        for values in ([1.0, 2.0, 4.5], [9.0, 9.0, 9.0])
    )
    assert paired.beside(Regression, "mae", one, other) is not None
    assert paired.beside(Ratio, "ratio", one, other) is None
    assert paired.resampled_difference(Ratio, one, other) is None
