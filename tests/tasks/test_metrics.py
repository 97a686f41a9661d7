"""Metrics: equal to scikit-learn's and plain NumPy's, also where classes are absent, and intervals that cover."""

import json
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from sklearn import metrics as reference
from torch import Tensor

from ft_lightning.system.errors import NumericalError
from ft_lightning.tasks import metrics
from ft_lightning.tasks.metric import Metric, torchmetric
from ft_lightning.tasks.metrics import epoch_metrics, full_metrics
from ft_lightning.tasks.multiclass import METRICS

# What metrics.json holds of a split.
KEYS = {
    *("accuracy", "accuracy_ci95", "top5_accuracy", "f1_macro", "f1_macro_ci95", "precision_macro", "recall_macro"),
    *("auroc", "loss", "ece", "n", "majority_accuracy", "per_class", "confusion"),
    *(metric.name for metric in METRICS),  # those above, and one's own
}

# (samples, classes, classes that occur in the targets)
PROBLEMS = {
    "usual": (200, 6, range(6)),
    "many classes": (300, 40, range(40)),
    "binary": (50, 2, range(2)),
    "one sample": (1, 4, range(4)),
    "seven samples": (7, 4, range(4)),
    "eight samples": (8, 3, range(3)),
    "absent classes": (60, 7, (1, 2, 5)),
    "one present class": (20, 5, (3,)),
    "one present class of two": (9, 2, (1,)),
}


def problem(n: int, classes: int, present: tuple[int, ...] | range, skill: float = 1.5) -> tuple[Tensor, Tensor]:
    """Logits (N, C) that know the targets (N,) a little."""
    generator = torch.Generator().manual_seed(n * 100 + classes)
    targets = torch.tensor(list(present))[torch.randint(len(present), (n,), generator=generator)]
    logits = torch.randn(n, classes, generator=generator)
    logits[torch.arange(n), targets] += skill
    return logits, targets


def names(classes: int) -> list[str]:
    return [f"class {i}" for i in range(classes)]


@pytest.mark.parametrize("case", PROBLEMS)
def test_averages_equal_scikit_learns(case: str) -> None:
    n, classes, present = PROBLEMS[case]
    logits, targets = problem(n, classes, present)
    found = full_metrics(logits, targets, names(classes), [1] * classes)
    probabilities, labels, true = logits.double().softmax(1).numpy(), range(classes), targets.numpy()
    predicted = probabilities.argmax(1)
    macro = {"average": "macro", "zero_division": 0.0}
    occurring = np.union1d(true, predicted)  # scikit-learn's own default for `labels`
    expected = {
        "accuracy": reference.accuracy_score(true, predicted),
        "f1_macro": reference.f1_score(true, predicted, labels=occurring, **macro),
        "precision_macro": reference.precision_score(true, predicted, labels=occurring, **macro),
        "recall_macro": reference.recall_score(true, predicted, labels=occurring, **macro),
        "loss": reference.log_loss(true, probabilities, labels=labels),
    }
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=1e-6)
    brief = epoch_metrics(logits, targets)
    each_epoch = {name: expected[name] for name in ("accuracy", "f1_macro", "loss")}
    assert {name: brief[name] for name in each_epoch} == pytest.approx(each_epoch, abs=1e-6)


@pytest.mark.promise(4)
@pytest.mark.parametrize("case", PROBLEMS)
def test_per_class_and_confusion_equal_scikit_learns(case: str) -> None:
    n, classes, present = PROBLEMS[case]
    logits, targets = problem(n, classes, present)
    found = full_metrics(logits, targets, names(classes), [1] * classes)
    true, predicted, labels = targets.numpy(), logits.argmax(1).numpy(), list(range(classes))
    columns = reference.precision_recall_fscore_support(true, predicted, labels=labels, zero_division=0.0)
    for key, values in zip(("precision", "recall", "f1", "n"), columns, strict=True):
        assert [row[key] for row in found["per_class"].values()] == pytest.approx(list(values))
    dense = [[found["confusion"].get(t, {}).get(p, 0) for p in names(classes)] for t in names(classes)]
    assert dense == reference.confusion_matrix(true, predicted, labels=labels).tolist()
    assert all(count > 0 for row in found["confusion"].values() for count in row.values())


@pytest.mark.parametrize("case", PROBLEMS)
def test_auroc_equals_scikit_learns_and_leaves_absent_classes_out(case: str) -> None:
    n, classes, present = PROBLEMS[case]
    logits, targets = problem(n, classes, present)
    logits = (logits * 2).round() / 2  # so that there are ties
    found = full_metrics(logits, targets, names(classes), [1] * classes)
    probabilities, true = logits.double().softmax(1).numpy(), targets.numpy()
    expected = {
        name: reference.roc_auc_score(true == i, probabilities[:, i]) if 0 < (true == i).sum() < n else None
        for i, name in enumerate(names(classes))
    }
    assert {name: row["auroc"] for name, row in found["per_class"].items()} == pytest.approx(expected)
    defined = [value for value in expected.values() if value is not None]
    assert found["auroc"] == (pytest.approx(np.mean(defined)) if defined else None)


def test_perfect_predictions_score_one_although_a_class_is_absent() -> None:
    targets = torch.tensor([0, 0, 1, 1])
    found = full_metrics(10.0 * torch.eye(3)[targets], targets, names(3), [1, 1, 1])
    assert (found["accuracy"], found["f1_macro"], found["auroc"]) == (1.0, 1.0, 1.0)
    assert found["per_class"]["class 2"] == {"precision": 0.0, "recall": 0.0, "f1": 0.0, "auroc": None, "n": 0}


@pytest.mark.parametrize("case", ["usual", "many classes", "binary", "one sample"])
def test_top5_counts_targets_among_the_five_most_probable(case: str) -> None:
    n, classes, present = PROBLEMS[case]
    logits, targets = problem(n, classes, present, skill=0.3)
    ranks = (logits > logits[torch.arange(n), targets, None]).sum(1)
    found = full_metrics(logits, targets, names(classes), [1] * classes)
    assert found["top5_accuracy"] == pytest.approx((ranks < 5).double().mean().item())


def test_ece_is_the_gap_between_confidence_and_accuracy_in_15_bins() -> None:
    logits, targets = problem(500, 6, range(6))
    confidence, predicted = logits.double().softmax(1).max(1)
    correct = (predicted == targets).double()
    bins = torch.bucketize(confidence, torch.linspace(0, 1, 16, dtype=torch.double)[1:-1])
    gaps = [(confidence[bins == b].sum() - correct[bins == b].sum()).abs().item() for b in range(15)]
    assert full_metrics(logits, targets, names(6), [1] * 6)["ece"] == pytest.approx(sum(gaps) / 500, abs=1e-6)


def test_the_majority_is_that_of_train() -> None:
    logits, targets = torch.zeros(4, 3), torch.tensor([0, 0, 0, 1])
    assert full_metrics(logits, targets, names(3), [2, 7, 1])["majority_accuracy"] == 0.25


@pytest.mark.parametrize("case", PROBLEMS)
def test_the_result_is_plain_json_with_exactly_the_promised_keys(case: str) -> None:
    n, classes, present = PROBLEMS[case]
    found = full_metrics(*problem(n, classes, present), names(classes), [1] * classes)
    assert set(found) == KEYS
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    for score, (low, high) in ((found[name], found[f"{name}_ci95"]) for name in ("accuracy", "f1_macro")):
        assert 0 <= low <= high <= 1
        assert low - 0.05 <= score <= high + 0.05  # a bootstrap of few samples is biased


def test_a_metric_added_to_the_list_appears_in_the_result_and_in_each_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    logits, targets = problem(50, 4, range(4))
    monkeypatch.setattr(metrics, "METRICS", (*METRICS, Metric("mcc", torchmetric("matthews_corrcoef"), "max")))
    found = full_metrics(logits, targets, names(4), [1] * 4)
    assert set(found) == KEYS | {"mcc"}
    assert found["mcc"] == pytest.approx(reference.matthews_corrcoef(targets, logits.argmax(1)), abs=1e-6)
    assert epoch_metrics(logits, targets)["mcc"] == pytest.approx(found["mcc"])


def test_an_added_metric_that_is_undefined_is_null(monkeypatch: pytest.MonkeyPatch) -> None:
    undefined = Metric("undefined", lambda probabilities, targets: torch.tensor(math.nan), "max")
    monkeypatch.setattr(metrics, "METRICS", (*METRICS, undefined))
    assert full_metrics(*problem(10, 3, range(3)), names(3), [1] * 3)["undefined"] is None


@pytest.mark.parametrize("broken", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(
    "look", [epoch_metrics, lambda logits, targets: full_metrics(logits, targets, names(4), [1] * 4)]
)
def test_non_finite_outputs_are_a_numerical_error(look: Callable[..., object], broken: float) -> None:
    logits, targets = problem(8, 4, range(4))
    logits[5, 2] = broken
    with pytest.raises(NumericalError, match="1 of 8 samples are not finite"):
        look(logits, targets)


def test_a_metric_of_one_s_own_that_fails_at_the_end_costs_nothing_but_itself(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(outputs: Tensor, targets: Tensor) -> Tensor:
        raise RuntimeError("mine")

    plain = Metric("plain", lambda outputs, targets: 0.25, "max")  # type: ignore[arg-type, return-value]
    monkeypatch.setattr(metrics, "METRICS", [*METRICS, plain, Metric("broken", fails, "max", each_epoch=False)])
    logits, targets = problem(*PROBLEMS["usual"])
    found = full_metrics(logits, targets, names(6), [1] * 6)
    assert (found["plain"], found["broken"]) == (0.25, None)
    assert "The metric broken is left out" in caplog.text
    assert "mine" in caplog.text, "with its traceback"
    assert epoch_metrics(logits, targets)["plain"] == 0.25
    monkeypatch.setattr(metrics, "METRICS", [*METRICS, Metric("broken", fails, "max")])
    with pytest.raises(RuntimeError, match="mine") as failed:  # in the first epoch, when little is lost
        epoch_metrics(logits, targets)
    assert failed.value.__notes__ == ["The metric broken fails; it has to return one number."]


def test_a_metric_that_changes_its_arguments_changes_nobody_else_s(monkeypatch: pytest.MonkeyPatch) -> None:
    def greedy(probabilities: Tensor, targets: Tensor) -> Tensor:
        probabilities.zero_()
        targets.numpy()[:] = 0
        return torch.tensor(0.5)

    logits, targets = problem(50, 3, range(3))
    before = logits.clone(), targets.clone()
    alone = full_metrics(logits, targets, names(3), [20, 20, 10])
    monkeypatch.setattr(metrics, "METRICS", (Metric("greedy", greedy, "max"), *METRICS))
    beside = full_metrics(logits, targets, names(3), [20, 20, 10])
    assert beside.pop("greedy") == 0.5
    assert beside == alone
    assert torch.equal(logits, before[0])
    assert torch.equal(targets, before[1])


def test_each_metric_has_a_name_and_a_direction_of_its_own() -> None:
    listed = [metric.name for metric in METRICS]
    assert len(set(listed)) == len(listed)
    assert not {"n", "per_class", "confusion", "accuracy_ci95", "f1_macro_ci95"} & set(listed)
    assert {metric.direction for metric in METRICS} == {"max", "min"}
