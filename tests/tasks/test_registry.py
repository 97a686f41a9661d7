"""Tasks by their name, and what is read of their results, also where somebody has edited them."""

import math
from typing import Any

import pytest

from ft_lightning.system.errors import UserError
from ft_lightning.tasks.registry import direction_of, finite, score_of, shown_of, task_class, task_name


@pytest.mark.parametrize(
    ("monitor", "task", "direction"),
    [
        ("val/accuracy", "multiclass", "max"),
        ("val/loss", "multiclass", "min"),
        ("train/loss", "multiclass", "min"),
        ("test/loss", "multiclass", None),
        ("accuracy", "multiclass", None),
        ("val/nothing", "multiclass", None),
        ("val/accuracy", "no_task", None),
        ("test/accuracy", "no_task", None),
    ],
)
def test_which_value_is_better_is_known_of_what_is_measured_each_epoch(
    monitor: str, task: str, direction: str | None
) -> None:
    assert direction_of(monitor, task) == direction


def test_an_unknown_task_is_refused_with_the_known_ones() -> None:
    assert task_class("multiclass").name == "multiclass"
    with pytest.raises(UserError, match=r"task\.name=multi is unknown: use one of multiclass"):
        task_class("multi")


@pytest.mark.parametrize(
    ("card", "name"),
    [({"task": {"name": "x"}}, "x"), ({"task": {"name": 3}}, "multiclass"), ({"task": 3}, "multiclass"),
     ({}, "multiclass")],
)  # fmt: skip
def test_what_says_no_task_is_of_the_only_one_there_was(card: dict[str, Any], name: str) -> None:
    assert task_name(card) == name


@pytest.mark.parametrize(
    ("metrics", "value", "loss", "ci95"),
    [
        ({"accuracy": 0.5, "loss": 1, "accuracy_ci95": [0.4, 0.6]}, 0.5, 1.0, (0.4, 0.6)),
        ({"accuracy": 0.5, "accuracy_ci95": [0.4]}, 0.5, None, None),
        ({"accuracy": 0.5, "accuracy_ci95": [0.4, None]}, 0.5, None, None),
        ({"accuracy": True, "loss": math.nan, "accuracy_ci95": 3}, None, None, None),
        ([0.5], None, None, None),
        (None, None, None, None),
    ],
)
def test_a_score_has_the_numbers_that_are_there(
    metrics: object, value: float | None, loss: float | None, ci95: tuple[float, float] | None
) -> None:
    for task in ("multiclass", "no_task"):
        assert score_of(metrics, task) == ("accuracy", value, loss, ci95, "max", "accuracy")


@pytest.mark.parametrize(
    ("value", "number"),
    [(1, 1.0), (-0.5, -0.5), (True, None), ("1", None), (math.inf, None), (math.nan, None), (10**400, None)],
)
def test_only_a_finite_number_counts(value: object, number: float | None) -> None:
    assert finite(value) == number


def test_what_is_always_one_is_not_shown() -> None:
    task = task_class("multiclass")
    five, six = ({"top5_accuracy": 1.0, "per_class": {str(name): {} for name in range(count)}} for count in (5, 6))
    assert "top5_accuracy" in shown_of(task, five | {"top5_accuracy": 0.5}), "of a file that somebody has changed"
    assert "top5_accuracy" in shown_of(task, six)
    assert shown_of(task, six).keys() - shown_of(task, five).keys() == {"top5_accuracy"}
    assert shown_of(task, {"per_class": None}) == shown_of(task, {}) == dict(task.headline), "of an older file"
