"""A task of one class a sample: what its members promise to everything that knows no classes."""

import json
from dataclasses import replace
from typing import Any

import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from torchmetrics.functional.classification import multiclass_calibration_error

from ft_lightning.system.errors import UserError
from ft_lightning.tasks.multiclass import MultiClass
from ft_lightning.tasks.registry import make_task, task_class, task_of
from ft_lightning.tasks.task import Outputs
from tasks.test_calibration import made_up

TASK = MultiClass(list("abcde"), [5, 4, 3, 2, 1])


def outputs() -> dict[str, Outputs]:
    made = {"val": made_up(400, 1, 3.0), "test": made_up(300, 2, 3.0)}
    return {split: Outputs(torch.arange(len(target)), logits, target) for split, (logits, target) in made.items()}


class Ordinal(MultiClass):
    """Of C - 1 outputs a sample."""

    @property
    def width(self) -> int:
        return len(self.class_names) - 1


class Grades(MultiClass):
    def metrics(self, rows: torch.Tensor, target: torch.Tensor, full: bool) -> dict[str, Any]:
        return {"off_by": 0.5} | super().metrics(rows, target, full)


def test_the_metrics_of_a_subclass_are_those_of_its_folds_too() -> None:
    task = Grades(["a", "b"], [1, 1])
    parts = [(replace(task, temperature=t), Outputs(torch.arange(2), torch.eye(2), torch.arange(2))) for t in (1, 2)]
    found = task.pooled(parts)
    assert (found["off_by"], found["accuracy"], found["n"]) == (0.5, 1, 4)
    means = [-(torch.eye(2) / t).log_softmax(1)[0, 0].item() for t in (1, 2)]
    assert found["loss"] == pytest.approx(sum(means) / 2, rel=1e-6), "each with its own temperature"


def test_a_subclass_may_have_another_number_of_outputs() -> None:
    task = Ordinal(["a", "b", "c"], [1, 3, 2])
    assert task.constant().tolist() == [0, 1, 0]
    assert task.vote(torch.tensor([[2, 2, 0]]), torch.tensor([[1.0, 0.5, 0.25]])).tolist() == [[0.25, 0, 1.5]]
    assert task.facts() == {"classes": 3}
    assert task.describe()["classes"].startswith("3: ")


def test_what_was_before_calibration_is_known_afterwards() -> None:
    both = outputs()
    task = TASK.calibrate(both["val"].rows, both["val"].target)
    assert task.temperature > 1.2
    details = task.details(both)
    assert details.metrics["calibration"]["temperature"] == task.temperature
    for split, (_, logits, targets) in both.items():
        before = details.metrics["calibration"]["before"][split]
        assert before["loss"] == pytest.approx(F.cross_entropy(logits, targets).item(), abs=1e-5)
        expected = multiclass_calibration_error(logits.softmax(1), targets, 5, n_bins=15).item()
        assert before["ece"] == pytest.approx(expected, abs=1e-5)
        after = task.metrics(logits, targets, full=True)
        assert after["loss"] == pytest.approx(F.cross_entropy(logits / task.temperature, targets).item(), abs=1e-5)
        assert after["accuracy"] == pytest.approx(TASK.metrics(logits, targets, full=False)["accuracy"])
        bins = details.tables["reliability"]
        assert bins.loc[(bins["split"] == split) & (bins["scaling"] == "after"), "n"].sum() == len(targets)


def test_labels_become_targets_and_what_is_unknown_is_named() -> None:
    assert TASK.encode(["b", "a", "e", "b"]).tolist() == [1, 0, 4, 1]
    with pytest.raises(UserError, match=r"1 label is no class of this model: x\. It knows a, b, c, d, e\."):
        TASK.encode(["a", "x"])
    assert TASK.missing(["a", "b", "d"]) == ["the class c", "the class e"]
    assert TASK.missing(list("eabcda")) == []
    assert MultiClass(["x", "y"], []).fit(["y", "x", "y"]).class_counts == [1, 2]


def test_sums_of_a_mixed_batch_count_its_likeliest_label() -> None:
    logits = torch.tensor([[2.0, 1.0], [0.0, 1.0], [3.0, 0.0]])
    task = MultiClass(["x", "y"], [1, 1])
    assert task.sums(logits, torch.tensor([0, 0, 0]))["accuracy"] == 2
    assert task.sums(logits, torch.tensor([[0.9, 0.1], [0.3, 0.7], [0.4, 0.6]]))["accuracy"] == 2
    assert task.score(logits, torch.tensor([0, 0, 0])) == 2 / 3


def test_a_table_lists_all_classes_or_the_ten_most_probable() -> None:
    logits = torch.randn(4, 5, generator=torch.Generator().manual_seed(0))
    table = TASK.calibrate(logits, torch.tensor([0, 1, 2, 3])).table(list("wxyz"), logits, list("abcd"))
    assert list(table.columns) == ["path", "label", "predicted", "probability", *(f"p({name})" for name in "abcde")]
    assert table["predicted"].tolist() == [TASK.class_names[i] for i in logits.argmax(1)]
    many = MultiClass([f"class {i:03d}" for i in range(101)], [])
    logits = torch.randn(3, 101, generator=torch.Generator().manual_seed(0))
    table = many.table(list("xyz"), logits)
    assert list(table.columns) == [
        "path",
        "predicted",
        "probability",
        *(f"{c}_{r}" for r in range(1, 11) for c in ("class", "p")),
    ]
    assert table["class_1"].tolist() == table["predicted"].tolist()
    assert table["p_10"].iloc[0] == pytest.approx(logits[0].double().softmax(0).topk(10)[0][9].item())


def test_a_task_comes_back_from_model_json_also_from_one_without_temperature() -> None:
    card = json.loads(json.dumps(TASK.to_dict()))
    assert task_of(card) == TASK
    del card["temperature"]
    assert task_of(card) == TASK
    assert task_of(card | {"task": {"name": "multiclass"}}) == TASK
    assert TASK.answers_like(MultiClass(list("abcde"), []))
    assert not TASK.answers_like(MultiClass(list("abced"), []))


def test_a_page_shows_the_surest_wrong_answers_and_the_least_sure_ones() -> None:
    table = pd.DataFrame({"path": list("wxyz"), "label": list("aabb"), "predicted": list("abab")})
    table["probability"] = [0.6, 0.7, 0.9, 0.5]
    assert list(TASK.shown(table)) == ["y", "x", "z", "w", "x", "y"]


def test_a_search_keeps_accuracy_with_its_interval() -> None:
    kept = TASK.summary({"accuracy": 0.75, "loss": 1.0}, 40)
    low, high = kept["accuracy_ci95"]
    assert kept["accuracy"] == 0.75
    assert (low, high) == (pytest.approx(0.5981, abs=1e-4), pytest.approx(0.8581, abs=1e-4)), "Wilson's"


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ({"val": ["a", "b"]}, "There is no train split, only val"),
        ({None: ["a", "a"]}, r"one class only \(a\)"),
        ({"train": ["a", "b"], "test": ["c", "a"]}, "The test split has 1 class that train does not know: c"),
    ],
)
def test_labels_that_cannot_be_learnt_are_refused(labels: dict[str | None, list[str]], said: str) -> None:
    with pytest.raises(UserError, match=said):
        make_task(labels, "multiclass")


def test_an_unknown_task_names_those_there_are() -> None:
    assert make_task({None: ["b", "a"]}, "multiclass") == MultiClass(["a", "b"], [])
    with pytest.raises(UserError, match=r"task\.name=multi is unknown: use one of multiclass"):
        task_class("multi")


@pytest.mark.parametrize(("below", "fits"), [(0, True), (0.8, True), (1, True), (-0.1, False), (1.1, False),
                                             (True, False), ("0.8", False)])  # fmt: skip
def test_a_task_abstains_below_a_probability(below: float, fits: bool) -> None:
    if not fits:
        with pytest.raises(UserError, match=f"abstain_below={below}: use a probability from 0 to 1"):
            TASK.abstaining(below)
        return
    rows = torch.tensor([[9.0, 0, 0, 0, 0], [0, 0.5, 0, 0, 0]])
    uncertain = TASK.abstaining(below).table(["x", "y"], rows, [])["uncertain"].tolist()
    assert uncertain == {0: [False, False], 0.8: [False, True], 1: [True, True]}[below]
    assert "uncertain" not in TASK.table(["x", "y"], rows, [])


def test_of_two_classes_the_second_is_answered_from_a_threshold_on() -> None:
    two = MultiClass(["no", "yes"], [1, 1])
    rows = torch.tensor([[0.0, -1.0], [0.0, 1.0], [0.0, -3.0]])  # yes has 0.27, 0.73, 0.05
    table = two.deciding(0.2).table(["a", "b", "c"], rows)
    assert table["predicted"].tolist() == ["yes", "yes", "no"]
    assert table["probability"].tolist() == pytest.approx([0.2689, 0.7311, 0.9526], abs=1e-4)
    assert two.deciding(0.8).table(["b"], rows[1:2])["predicted"].tolist() == ["no"]
    assert two.deciding(0.5).table(["a", "b", "c"], rows).equals(two.table(["a", "b", "c"], rows))
    with pytest.raises(UserError, match=r"threshold=0\.3: of 3 classes"):
        MultiClass(["a", "b", "c"], [1, 1, 1]).deciding(0.3)
    with pytest.raises(UserError, match="threshold=7: use a probability"):
        two.deciding(7)
