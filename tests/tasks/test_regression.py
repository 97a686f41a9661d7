"""A task of numbers: its metrics are scikit-learn's, its intervals cover, and what it says of itself."""

import json
import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import spearmanr
from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error
from torch import Tensor

from ft_lightning.system.errors import NumericalError, UserError
from ft_lightning.tasks import number_metrics
from ft_lightning.tasks.intervals import resamples, wilson_interval
from ft_lightning.tasks.metric import Metric
from ft_lightning.tasks.registry import direction_of, make_task, task_class, task_of
from ft_lightning.tasks.regression import METRICS, Regression
from ft_lightning.tasks.task import Outputs

ONE = Regression(["age"], [40.0], [10.0], [15.0])
TWO = Regression(["x", "y"], [0.5, -300.0], [2.0, 50.0], [3.0, 80.0])


def made_up(n: int, width: int, seed: int = 0, whole: bool = False) -> tuple[Tensor, Tensor]:
    """Standardised outputs and targets (N, K); whole: with many equal values."""
    generator = torch.Generator().manual_seed(seed)
    target = torch.randn(n, width, generator=generator)
    outputs = 0.8 * target + 0.5 * torch.randn(n, width, generator=generator)
    return (outputs.round(), target.round()) if whole else (outputs, target)


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("n", [3, 50, 400])
@pytest.mark.parametrize("task", [ONE, TWO], ids=["one", "two"])
def test_metrics_equal_those_of_scikit_learn(task: Regression, n: int, whole: bool) -> None:
    rows, target = made_up(n, task.width, n, whole)
    rows[0], target[:2] = 1, torch.tensor([[-1.0], [2.0]])  # not all the same
    predicted, true = task.original(rows).numpy(), task.original(target).numpy()
    expected = {
        "mae": mean_absolute_error(true, predicted),
        "rmse": root_mean_squared_error(true, predicted),
        "r2": r2_score(true, predicted),
        "spearman": np.mean([spearmanr(true[:, i], predicted[:, i]).statistic for i in range(task.width)]),
    }
    constant = np.broadcast_to(task.mean, true.shape)
    beside = {"mean_mae": mean_absolute_error(true, constant), "mean_r2": r2_score(true, constant)}
    beside["mean_rmse"] = root_mean_squared_error(true, constant)
    epoch, full = task.metrics(rows, target, full=False), task.metrics(rows, target, full=True)
    assert {name: epoch[name] for name in expected} == pytest.approx(expected, rel=1e-9)
    assert {name: full[name] for name in expected | beside} == pytest.approx(expected | beside, rel=1e-9)
    assert epoch.keys() == task.directions.keys()
    each = full["per_target"][task.targets[-1]]
    assert each["mae"] == pytest.approx(mean_absolute_error(true[:, -1], predicted[:, -1]))
    assert each["mean_r2"] == pytest.approx(r2_score(true[:, -1], constant[:, -1]))
    assert full["n"] == n
    covered = (np.abs(true - predicted) <= task.half_width).mean()
    assert full["coverage90"] == pytest.approx(covered)
    assert full["coverage90_ci95"] == wilson_interval(round(covered * n), n)
    assert json.loads(json.dumps(full)) == full, "plain values"


def test_the_loss_that_decides_between_equal_values_is_huber_s() -> None:
    rows, target = made_up(100, 2)
    error = (rows - target).abs()
    expected = torch.where(error < 1, error**2 / 2, error - 0.5).mean().item()
    assert TWO.metrics(rows, target, full=False)["loss"] == pytest.approx(expected, rel=1e-6)
    assert TWO.metrics(rows, target, full=True)["loss"] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("whole", [False, True])
def test_bootstrap_intervals_are_percentiles_of_resampled_metrics(whole: bool) -> None:
    rows, target = made_up(60, 2, whole=whole)
    predicted, true = TWO.original(rows).numpy(), TWO.original(target).numpy()
    drawn = [np.repeat(np.arange(60), counts) for counts in np.concatenate(list(resamples(60, 2)))]
    measures = {
        "mae": mean_absolute_error,
        "rmse": root_mean_squared_error,
        "r2": r2_score,
        "spearman": lambda t, p: np.mean([spearmanr(t[:, i], p[:, i]).statistic for i in range(t.shape[1])]),
    }
    full = TWO.metrics(rows, target, full=True)
    for name, measure in measures.items():
        values = [measure(true[those], predicted[those]) for those in drawn]
        assert full[f"{name}_ci95"] == pytest.approx(np.percentile(values, [2.5, 97.5]).tolist(), rel=1e-6), name
        values = [measure(true[those, 1:], predicted[those, 1:]) for those in drawn]
        assert full["per_target"]["y"][f"{name}_ci95"] == pytest.approx(np.percentile(values, [2.5, 97.5]), rel=1e-6)
    assert TWO.metrics(rows, target, full=True) == full, "the same each time"


def test_what_is_undefined_is_null_and_the_mean_is_over_the_other_targets() -> None:
    rows, target = made_up(20, 2)
    target[:, 0] = 0.25
    full = TWO.metrics(rows, target, full=True)
    assert full["per_target"]["x"]["r2"] is None
    assert full["per_target"]["x"]["spearman"] is None
    assert full["per_target"]["x"]["r2_ci95"] is None
    assert full["r2"] == full["per_target"]["y"]["r2"]
    assert full["r2_ci95"] == full["per_target"]["y"]["r2_ci95"]
    assert math.isnan(ONE.metrics(rows[:, :1], target[:, :1], full=False)["r2"])
    alone = ONE.metrics(rows[:1, :1], target[:1, :1], full=True)
    assert (alone["n"], alone["r2"], alone["spearman_ci95"]) == (1, None, None)
    assert alone["mae_ci95"] == pytest.approx([alone["mae"]] * 2)


def test_constant_predictions_have_no_spearman() -> None:
    _, target = made_up(20, 1)
    full = ONE.metrics(torch.zeros(20, 1), target, full=True)
    assert full["spearman"] is None
    assert full["r2"] == pytest.approx(full["mean_r2"])
    assert full["mae"] == pytest.approx(full["mean_mae"])


def test_outputs_that_are_not_finite_end_a_training() -> None:
    rows, target = made_up(5, 1)
    rows[2] = math.nan
    with pytest.raises(NumericalError, match="outputs for 1 of 5 samples"):
        ONE.metrics(rows, target, full=False)


def test_a_metric_of_ones_own_is_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def median(predicted: Tensor, true: Tensor) -> Tensor:
        return (predicted - true).abs().median()

    monkeypatch.setattr(number_metrics, "METRICS", (*METRICS, Metric("median", median, "min")))
    rows, target = made_up(51, 2)
    expected = (TWO.original(rows) - TWO.original(target)).abs().median(0)[0]
    full = TWO.metrics(rows, target, full=True)
    assert TWO.metrics(rows, target, full=False)["median"] == pytest.approx(expected.mean().item())
    assert full["median"] == pytest.approx(expected.mean().item())
    assert full["per_target"]["y"]["median"] == pytest.approx(expected[1].item())


def test_labels_become_standardised_targets() -> None:
    task = make_task({"train": ["1;10", "2;20", "3;60"], "val": ["9;9"]}, "regression", ["x", "y"])
    assert task == Regression(["x", "y"])
    fitted = task.fit(["1;10", "2;20", "3;60"])
    assert fitted.mean == [2.0, 30.0]
    assert fitted.sd == [pytest.approx(math.sqrt(2 / 3)), pytest.approx(math.sqrt(1400 / 3))]
    targets = fitted.encode(["1;10", "2;20", "3;60"])
    assert targets.dtype == torch.float32
    assert targets.mean(0).tolist() == pytest.approx([0, 0], abs=1e-6)
    assert targets.std(0, unbiased=False).tolist() == pytest.approx([1, 1])
    assert fitted.original(targets).numpy() == pytest.approx(np.array([[1, 10], [2, 20], [3, 60]]), rel=1e-6)
    assert fitted.encode("1;10").tolist() == targets[:1].tolist()
    assert fitted.encode([]).shape == (0, 2)
    with pytest.raises(
        UserError, match=r"A label has 1 number \(7\), this model predicts 2: x, y\. Name as many columns"
    ):
        fitted.encode(["7"])


def test_large_numbers_close_together_keep_their_differences() -> None:
    labels = [str(1e9 + i) for i in range(10)]
    task = Regression(["ns"]).fit(labels)
    assert task.original(task.encode(labels))[:, 0].tolist() == pytest.approx([1e9 + i for i in range(10)], abs=1e-5)


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ({"val": ["1", "2"]}, "There is no train split, only val"),
        ({None: ["3", "3"]}, "All samples of train have the same age: there is nothing to learn"),
        ({"train": ["0.1"] * 7, "val": ["2"]}, "the same age"),
        ({"train": ["1", "2"], "test": ["1;2"]}, "unequally many numbers"),
    ],
)
def test_labels_that_cannot_be_learnt_are_refused(labels: dict[str | None, list[str]], said: str) -> None:
    with pytest.raises(UserError, match=said):
        make_task(labels, "regression", ["age"])


def test_what_train_lost_is_named() -> None:
    assert TWO.missing(["1;2", "1;3"]) == ["a second value of x"]
    assert TWO.missing(["1;2", "2;3"]) == []
    assert TWO.missing([]) == []
    with pytest.raises(UserError, match=r"go up to 1e\+300: write them in a larger unit"):
        Regression(["x"]).fit(["1e300", "-1e300"])
    with pytest.raises(UserError, match=r"go up to 8e\+150: write them in a larger unit"):
        Regression(["x"]).fit(["8e150", "1e150"])
    for tiny in (["1e-200", "8e-200"], ["5e-324", "0"], ["1e-40", "3e-40"]):
        with pytest.raises(UserError, match=r"differ by .* only: write them in a smaller unit"):
            make_task({"train": tiny}, "regression", ["x"])
    with pytest.raises(UserError, match=r"go up to 1e\+60, train's did not"):
        ONE.encode(["1", "1e60"])


def test_neighbours_answer_with_their_weighted_mean() -> None:
    targets = torch.tensor([[[1.0, 0.0], [3.0, 4.0]], [[0.0, 0.0], [2.0, 2.0]]])  # (N, k, K)
    assert TWO.vote(targets, torch.tensor([[1.0, 3.0], [1.0, 1.0]])).tolist() == [[2.5, 3.0], [1.0, 1.0]]
    assert TWO.score(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])) == (2.0 + 50.0) / 2, "in its own unit"


def test_sums_of_a_batch_are_absolute_errors_in_the_labels_unit() -> None:
    rows, target = made_up(7, 2)
    expected = (TWO.original(rows) - TWO.original(target)).abs().mean(1).sum().item()
    assert TWO.sums(rows, target)["mae"].item() == pytest.approx(expected, rel=1e-6)
    assert TWO.sums(rows.bfloat16(), target)["mae"].item() == pytest.approx(expected, rel=0.05)


def test_calibration_keeps_the_residual_of_val() -> None:
    rows, target = made_up(99, 2)
    task = Regression(TWO.targets, TWO.mean, TWO.sd).calibrate(rows, target)
    residuals = (TWO.original(rows) - TWO.original(target)).abs().numpy()
    assert task.half_width == pytest.approx(np.sort(residuals, 0)[89].tolist())
    assert task.metrics(rows, target, full=True)["per_target"]["y"]["coverage90"] == 90 / 99
    assert "coverage90" not in Regression(["x"], [0.0], [1.0]).metrics(rows[:, :1], target[:, :1], full=True)


def test_details_say_what_the_intervals_promise(caplog: pytest.LogCaptureFixture) -> None:
    both = {name: Outputs(torch.arange(n), *made_up(n, 2, n)) for name, n in (("val", 15), ("test", 30))}
    task = TWO.calibrate(both["val"].rows, both["val"].target)
    details = task.details(both)
    half_width = dict(zip("xy", task.half_width, strict=True))
    assert details.metrics == {"interval": {"percent": 90, "half_width": half_width, "val": 15}}
    table = details.tables["coverage"]
    assert table["percent"].tolist() == [50, 50, 60, 60, 70, 70, 80, 80, 90, 90], "95 % takes 19 samples"
    row = table[(table["percent"] == 90) & (table["target"] == "y")].iloc[0]
    assert row["half_width"] == task.half_width[1]
    assert (
        row["coverage"]
        == task.metrics(both["test"].rows, both["test"].target, full=True)["per_target"]["y"]["coverage90"]
    )
    assert not caplog.records
    alone = TWO.details({"test": both["test"]})
    assert alone.metrics == {"interval": {"percent": 90, "half_width": {"x": 3.0, "y": 80.0}}}
    assert alone.tables == {}
    few = {name: Outputs(torch.arange(5), *made_up(5, 2)) for name in ("val", "test")}
    assert TWO.details(few).tables["coverage"]["percent"].max() == 80
    assert "val has 5 samples: the 90 % intervals are as wide as its largest error" in caplog.text


def test_answers_of_several_models_are_measured_together_each_with_its_own_interval() -> None:
    own = [Regression(["x", "y"], [1.0, 2.0], [3.0, 4.0], [0.5, 99.0]), TWO]
    labels = [[f"{i % 4 * 3};{i % 5 * 100}" for i in range(at, at + 30)] for at in (0, 30)]  # many are equal
    parts = [Outputs(torch.arange(30), made_up(30, 2, at)[0], TWO.encode(each)) for at, each in enumerate(labels)]
    found = TWO.pooled(list(zip(own, parts, strict=True)))
    predicted = torch.cat([task.original(one.rows) for task, one in zip(own, parts, strict=True)]).numpy()
    true = np.array([[float(value) for value in label.split(";")] for each in labels for label in each])
    rho = [spearmanr(true[:, i], predicted[:, i]).statistic for i in (0, 1)]
    assert found["spearman"] == pytest.approx(np.mean(rho)), "equal labels of two folds are equal"
    assert found["n"] == 60
    assert found["mae"] == pytest.approx(mean_absolute_error(true, predicted))
    assert found["r2"] == pytest.approx(r2_score(true, predicted))
    half = np.repeat([task.half_width for task in own], 30, axis=0)
    assert found["coverage90"] == pytest.approx((np.abs(true - predicted) <= half).mean())
    alone = TWO.pooled([(TWO, parts[0])])
    expected = TWO.metrics(parts[0].rows, parts[0].target, full=True)
    assert {name: alone[name] for name in ("mae", "coverage90")} == pytest.approx(
        {name: expected[name] for name in ("mae", "coverage90")}
    )


def test_a_table_has_the_prediction_and_its_interval() -> None:
    table = ONE.table(["a", "b"], torch.tensor([[0.0], [1.5]]), ["41", "50"])
    assert table.to_dict("list") == {
        "path": ["a", "b"], "label": ["41", "50"], "predicted": [40, 55], "low": [25, 40], "high": [55, 70],
    }  # fmt: skip
    several = TWO.table(["a"], torch.tensor([[1.0, -1.0]]), None)
    assert several.columns.tolist() == [
        "path", "predicted(x)", "low(x)", "high(x)", "predicted(y)", "low(y)", "high(y)",
    ]  # fmt: skip
    assert several.iloc[0, 1:].tolist() == [2.5, -0.5, 5.5, -350, -430, -270]
    odd = Regression(["predicted low", "y"], [0.0, 0.0], [1.0, 1.0], [1.0, 1.0]).table(["a"], torch.zeros(1, 2))
    assert odd.columns.tolist()[1:4] == ["predicted(predicted low)", "low(predicted low)", "high(predicted low)"]


def test_a_table_of_answers_is_summed_up_without_those_that_failed() -> None:
    answers = ONE.table(["a", "b", "c"], torch.tensor([[0.0], [1.5], [9.0]]), None)
    answers.loc[2, ["predicted", "low", "high"]] = None
    assert ONE.tally(answers) == {"predicted": "47.5 on average, 40 to 55"}
    answers["predicted"] = None
    assert ONE.tally(answers) == {"predicted": "nothing"}
    said = TWO.tally(TWO.table(["a"], torch.tensor([[1.0, -1.0]]), None))
    assert said == {"predicted": "x 2.5 on average, 2.5 to 2.5; y -350 on average, -350 to -350"}


def test_a_page_shows_the_predictions_farthest_off() -> None:
    table = pd.DataFrame({"path": list("wxyz"), "label": ["1", "2", "3", "4"], "predicted": [1.5, 2, 1, 4.1]})
    assert list(ONE.shown(table)) == ["y", "w", "z", "x"]


def test_two_runs_are_compared_by_their_mean_absolute_error_in_resamples() -> None:
    table = pd.DataFrame({"label": ["1;100", "2;200"], "predicted(x)": ["1.0", "4.0"], "predicted(y)": ["150", "200"]})
    found = Regression.resampled(table.assign(**{"low(x)": "0"}), np.array([[1, 1], [2, 0], [0, 3]]))
    assert found is not None
    assert found.tolist() == [13.0, 25.0, 1.0]


def test_what_it_says_of_itself() -> None:
    assert ONE.describe() == {"target": "age: mean 40, standard deviation 10"}
    said = "x: mean 0.5, standard deviation 2; y: mean -300, standard deviation 50"
    assert TWO.describe() == {"targets": said}
    assert TWO.facts() == {"targets": ["x", "y"], "mean": [0.5, -300.0], "sd": [2.0, 50.0]}
    assert TWO.width == 2
    assert ONE.summary({"mae": 1.0, "rmse": 2.0, "r2": 0.5, "loss": 3.0}, 4) == {"mae": 1.0, "r2": 0.5}
    assert ONE.answers_like(Regression(["age"], [1.0], [2.0]))
    assert not ONE.answers_like(TWO)
    assert Regression.strata(["1"] * 4) == ["1 to 1"] * 4
    assert Regression.strata([]) == []
    assert (task_class("regression"), Regression.answer) == (Regression, None)
    assert [direction_of(f"val/{name}", "regression") for name in ("mae", "r2", "loss")] == ["min", "max", "min"]
    with pytest.raises(UserError, match=r"abstain_below=0\.8: a number has no probability.*low and high"):
        ONE.abstaining(0.8)
    with pytest.raises(UserError, match=r"threshold=0\.3: it decides between classes, "):
        ONE.deciding(0.3)


def test_a_task_comes_back_from_model_json() -> None:
    for task in (ONE, TWO):
        assert task_of(json.loads(json.dumps(task.to_dict()))) == task


@pytest.mark.parametrize(
    "change",
    [
        {"targets": "age"}, {"targets": []}, {"targets": [1]}, {"targets": ["a", "b"]}, {"mean": None},
        {"mean": ["40"]}, {"mean": [40.0, 1.0]}, {"mean": [math.nan]}, {"mean": [math.inf]}, {"sd": [0.0]},
        {"sd": [-1.0]}, {"sd": [True]}, {"sd": [math.nan]}, {"half_width": [-1.0]}, {"half_width": [math.inf]},
        {"half_width": []}, {"half_width": {}},
    ],
)  # fmt: skip
def test_a_model_json_that_somebody_has_changed_is_refused(change: dict[str, Any]) -> None:
    card = {"task": ONE.to_dict()["task"] | change}
    with pytest.raises((ValueError, TypeError)):
        task_of(card)
