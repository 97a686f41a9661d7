"""One rule decides between candidates: the value on val, then the loss on val, then the order."""

import math
from typing import Any

import pytest
from torchmetrics.classification import MulticlassCalibrationError

from ft_lightning.tasks.metric import Metric, torchmetric
from ft_lightning.tasks.registry import direction_of, score_of
from ft_lightning.tasks.selection import best_epoch, rank, share_best

NAN = math.nan


@pytest.mark.promise(31)
@pytest.mark.parametrize(
    ("direction", "candidates", "best"),
    [
        ("max", [(0.5, 0.1), (0.9, 0.7)], 1),
        ("max", [(1.0, 0.3), (1.0, 0.1), (1.0, 0.2)], 1),
        ("max", [(1.0, 0.3), (1.0, 0.3)], 0),
        ("min", [(0.3, 0.3), (0.1, 0.1), (0.1, 0.1)], 1),
        ("min", [(2.0, 0.1), (1.0, 9.0)], 1),
        ("max", [(None, 0.1), (NAN, 0.1), (math.inf, 0.0), (0.0, NAN)], 3),
        ("min", [(-math.inf, 0.1), (5.0, None)], 1),
        ("max", [(1.0, None), (1.0, 7.0)], 1),
        ("max", [(2 / 3, 0.2000001), (0.6666666865348816, 0.2)], 0),  # the last digit of a float32 decides nothing
        ("max", [(0.9995, 0.2), (0.9996, 0.3)], 1),
        ("max", [(1.0, 2e-5), (1.0, 1.9999e-5)], 1),
    ],
)
def test_equal_values_are_decided_by_the_loss_and_equal_losses_by_the_order(
    direction: str, candidates: list[tuple[Any, Any]], best: int
) -> None:
    ranks = [rank(*candidate, direction) for candidate in candidates]
    assert ranks.index(min(ranks)) == best
    assert sorted(range(len(ranks)), key=ranks.__getitem__)[0] == best


@pytest.mark.promise(31)
def test_the_best_epoch_is_one_that_was_validated() -> None:
    rows = [
        {"epoch": 0, "val/f1": 1.0, "val/loss": 0.3},
        {"epoch": 1},
        {"epoch": 2, "val/f1": 1.0, "val/loss": 0.2},
        {"epoch": 3, "val/f1": NAN, "val/loss": NAN},
    ]
    assert best_epoch(rows, "val/f1", "max") is rows[2]
    assert best_epoch(rows[1:2], "val/f1", "max") is None
    assert best_epoch([{"epoch": 0, "val/f1": 0.5}, {"epoch": 1, "val/f1": 0.5}], "val/f1", "max") == {
        "epoch": 0,
        "val/f1": 0.5,
    }


def test_those_that_share_the_best_value_are_counted() -> None:
    ranks = [rank(value, loss, "max") for value, loss in ((1.0, 0.3), (1.0, 0.1), (0.9, 0.0), (None, 0.0))]
    assert share_best(ranks) == 2
    assert share_best(ranks[2:]) == 1
    assert share_best(ranks[3:]) == share_best([]) == 0


@pytest.mark.promise(31)
def test_a_score_ranks_by_its_loss_and_nothing_else() -> None:
    low, high = ({"accuracy": 1.0, "loss": loss, "ece": 1 - loss} for loss in (0.1, 0.2))
    assert score_of(low, "multiclass").rank < score_of(high, "multiclass").rank < score_of({}, "multiclass").rank
    assert score_of({"accuracy": 1.0}, "multiclass").rank < score_of({}, "multiclass").rank


@pytest.mark.promise(32)
def test_a_metric_knows_its_direction_or_torchmetrics_does_or_nobody() -> None:
    names = ("val/loss", "train/loss", "val/accuracy", "loss", "x/loss")
    assert [direction_of(name, "multiclass") for name in names] == ["min", "min", "max", None, None]
    assert direction_of("val/loss", "unknown") is None
    assert Metric("kappa", torchmetric("cohen_kappa")).better == "max"
    assert Metric("area", torchmetric("auroc")).better == "max"
    assert Metric("distance", torchmetric("hamming_distance")).better == "min"
    assert Metric("calibration", MulticlassCalibrationError(num_classes=3)).better == "min"
    assert Metric("confusion", torchmetric("confusion_matrix")).better is None
    assert Metric("own", lambda probabilities, targets: probabilities.mean()).better is None
    assert Metric("own", lambda probabilities, targets: probabilities.mean(), "min").better == "min"
