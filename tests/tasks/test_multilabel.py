"""The task of several labels: labels, targets, metrics, thresholds, tables."""

import logging
import math
from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn import metrics as sk

from ft_lightning.data.labels import Labels
from ft_lightning.data.split import split_samples
from ft_lightning.readers.sample import Sample
from ft_lightning.system.errors import NumericalError, UserError
from ft_lightning.tasks.calibration import fit_temperature_of_labels
from ft_lightning.tasks.intervals import resamples
from ft_lightning.tasks.label_metrics import average_precisions, best_thresholds, resampled_precision
from ft_lightning.tasks.multiclass import MultiClass
from ft_lightning.tasks.multilabel import MultiLabel
from ft_lightning.tasks.registry import make_task, task_of
from ft_lightning.tasks.shown import worst_sets

THREE = MultiLabel(["ant", "bee", "cat"], [4, 3, 2], 8, "ant")


@pytest.mark.parametrize(
    ("cells", "sep", "label"),
    [
        ("cat;ant", ";", "ant;cat"),
        (" cat ; ant;; cat", ";", "ant;cat"),
        ("cat|ant", "|", "ant;cat"),
        ("ant;cat", "|", "ant;cat"),  # as this project writes it itself
        ("red cat, ant", ",", "ant;red cat"),
        (";", ";", ""),
        ({"ant": "1", "bee": "0", "cat": "1.0"}, ";", "ant;cat"),
        ({"ant": "True", "bee": " 0.0 "}, ";", "ant"),
        ({"ant": "1.00", "bee": "0."}, ";", "ant"),
        ({"ant": "0", "bee": "0"}, ";", ""),
    ],
)
def test_labels_are_read_from_one_column_or_several(cells: Any, sep: str, label: str) -> None:
    assert MultiLabel.read(cells, sep) == label
    assert MultiLabel.read(label, sep) == label, "what it writes it reads"


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        ({"ant": "2"}, "'2' in ant"),
        ({"ant": "1", "bee": " "}, "bee is blank: write 0 or 1"),
        ({"a;b": "1"}, "the column 'a;b' holds ;"),
    ],
)
def test_a_column_holds_0_or_1(cells: dict[str, str], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        MultiLabel.read(cells, ";")


@pytest.mark.parametrize(
    ("empty", "labels", "said"),
    [(None, ["ant", "", "bee"], ""), ("skip", ["ant", None, "bee"], "1 sample without a label is left out: two")],
)
def test_an_empty_cell_is_none_of_the_labels_or_left_out(
    empty: str | None, labels: list[str | None], said: str, caplog: pytest.LogCaptureFixture
) -> None:
    named = [("one", "ant"), ("two", " \u200b"), ("three", "bee")]
    assert Labels(MultiLabel, empty=empty).read(named, "table", _refuse) == labels
    assert said in caplog.text


def test_a_row_of_blanks_in_columns_of_0_and_1_is_not_taken_for_none_of_the_labels() -> None:
    named = [("one", {"ant": "1", "bee": "0"}), ("two", {"ant": "", "bee": " "}), ("three", {"ant": "0", "bee": "0"})]
    with pytest.raises(UserError, match=r"1 sample has no label: two; .*data.empty_label=skip \(none, if they have"):
        Labels(MultiLabel).read(named, "t", _refuse)
    read = {empty: Labels(MultiLabel, empty=empty).read(named, "t", _refuse) for empty in ("none", "skip")}
    assert read == {"none": ["ant", "", ""], "skip": ["ant", None, ""]}


def test_what_cannot_be_read_is_listed_at_once() -> None:
    named = [("one", {"ant": "1"}), ("two", {"ant": "7"}), ("three", {"ant": "x"})]
    with pytest.raises(UserError, match=r"data.csv=t: 2 labels cannot be read: two \('7' in ant .*three \('x' in ant"):
        Labels(MultiLabel, columns=["ant"]).read(named, "data.csv=t", _refuse)
    with pytest.raises(UserError, match="1 sample has no label: two"):
        Labels(MultiLabel, empty="error").read([("one", "ant"), ("two", "")], "t", _refuse)


def test_labels_that_read_the_same_are_told() -> None:
    with pytest.raises(UserError, match="'Ant' and 'ant' read the same"):
        Labels(MultiLabel).read([("one", "Ant;bee"), ("two", "ant")], "t", _refuse)
    assert Labels(MultiLabel, case_sensitive=True).read([("one", "Ant;bee"), ("two", "ant")], "t", _refuse)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"empty": "maybe"}, "data.empty_label=maybe is unknown"),
        ({"sep": " "}, "data.label_sep is blank"),
        ({"task": MultiClass, "empty": "none"}, "data.empty_label=none: a sample of task=multiclass"),
    ],
)
def test_how_labels_are_read_is_checked(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        Labels(**{"task": MultiLabel} | arguments)


def _refuse(message: str) -> None:
    raise UserError(message)


def test_its_labels_are_those_of_train() -> None:
    task = make_task({"train": ["b;a", "", "a"], "val": ["a"], "test": [""]}, "multilabel")
    assert isinstance(task, MultiLabel)
    fitted = task.fit(["a;b", "", "a", "a"])
    assert (fitted.label_names, fitted.label_counts, fitted.samples, fitted.commonest) == (["a", "b"], [3, 1], 4, "a")
    assert fitted.missing(["a", ""]) == ["the label b"]
    with pytest.raises(UserError, match="The val split has 1 label that train does not know: c"):
        MultiLabel.of({"train": ["a"], "val": ["a;c"]})
    with pytest.raises(UserError, match="nothing to learn from"):
        MultiLabel.of({None: ["", ""]})


def test_a_column_without_a_1_is_said(caplog: pytest.LogCaptureFixture) -> None:
    assert MultiLabel.of({None: ["a", "b"]}, ["a", "b", "c"]).label_names == ["a", "b"]
    assert "data.label: no sample has c: left out." in caplog.text


@pytest.mark.parametrize(
    ("names", "warned"),
    [
        (["a;b", "b;c", "a"], True),
        (["a;b", "b;a;c"], True),
        (["a;b", "c;d", "e", "f", "g"], False),
        (["a;b", "c"], False),
    ],
)
def test_classes_that_look_like_several_labels_are_said(
    names: list[str], warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    MultiClass.of({None: names})
    assert ("say task=multilabel." in caplog.text) == warned


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["cat", "dog", "cat,dog", "cat, bird", "bird", "none"], "2 of 6 {} hold a ,"),
        (["cat", "dog", "cat,dog", "ant"], ""),
        (["cat", "dog", "cat,dog", "cat, bird", "dog,bird", "cat,dog,bird"], "4 of 6 {} hold a ,"),
        (["cat|dog", "dog|cat|ant", "ant"], "2 of 3 {} hold a |"),
        (["Smith, Ann", "Smith, John", "Jones, Eve"], ""),
        (["Nice, France", "Lyon, France", "Paris, France"], ""),
        (["['cat', 'dog']", '["cat"]', "[]"], "The {} are lists"),
        (["[cat]", "dog"], ""),
    ],
)
def test_another_sign_between_labels_is_said(names: list[str], said: str, caplog: pytest.LogCaptureFixture) -> None:
    for task, noun, fix in (
        (MultiClass, "classes", "task=multilabel 'data.label_sep"),
        (MultiLabel, "labels", "say 'data"),
    ):
        caplog.clear()
        task.of({None: names})
        assert said.format(noun) in caplog.text
        assert (fix in caplog.text) == ("hold a" in said)
        assert bool(caplog.text) == bool(said)


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["cat", "NaN", "dog"], "One of the classes is called NaN: if that stands for a missing one, leave the cell"),
        (["cat", "none", "Na", "unknown"], ""),
        (
            [f"{age}.5" for age in range(20)],
            "The classes are numbers (0.5, 1.5, 10.5, 11.5, 12.5, ...): if those are a",
        ),
        ([str(number) for number in range(20)], ""),
        ([f"{number}.0" for number in range(20)], ""),
        (["0.25", "0.5", "1.5"], ""),
    ],
)
def test_classes_that_look_like_missing_ones_or_amounts_are_said(
    names: list[str], said: str, caplog: pytest.LogCaptureFixture
) -> None:
    MultiClass.of({None: names})
    assert said in caplog.text
    assert bool(caplog.text) == bool(said)


def test_targets_are_0_and_1_by_name() -> None:
    assert THREE.encode(["cat;ant", "", "bee"]).tolist() == [[1, 0, 1], [0, 0, 0], [0, 1, 0]]
    assert THREE.encode("bee").tolist() == [[0, 1, 0]]
    with pytest.raises(UserError, match=r"1 label is unknown to this model: dog\. It knows ant, bee, cat"):
        THREE.encode(["ant;dog"])


@pytest.mark.parametrize("seed", range(4))
def test_metrics_are_those_of_scikit_learn_over_the_labels_that_occur(seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    n, width = 60, 6
    logits = torch.randn(n, width, generator=random).round(decimals=1)  # with ties
    targets = (torch.rand(n, width, generator=random) < torch.linspace(0.0, 0.9, width)).float()
    targets[:, 1] = 0  # two labels that no sample has; the first may be answered
    logits[:, 0] = -1
    task = MultiLabel([f"l{i}" for i in range(width)], [1] * width, n, "l5", thresholds=[0.5, 0.4, 0.5, 0.6, 0.5, 0.3])
    found = task.metrics(logits, targets, full=True)
    truth, scores = targets.numpy(), logits.double().sigmoid().numpy()
    answers = scores >= np.array(task.thresholds)
    occur = truth.any(0)
    shown = occur | answers.any(0)
    assert not occur[:2].any()
    expected = {
        "average_precision": sk.average_precision_score(truth[:, occur], scores[:, occur], average="macro"),
        "auroc": sk.roc_auc_score(truth[:, occur], scores[:, occur], average="macro"),
        "f1_macro": sk.f1_score(truth[:, shown], answers[:, shown], average="macro", zero_division=0),
        "f1_micro": sk.f1_score(truth, answers, average="micro"),
        "exact_match": sk.accuracy_score(truth, answers),
        "hamming": sk.hamming_loss(truth, answers),
        "loss": -np.where(truth, np.log(scores), np.log1p(-scores)).mean(),
        "chance_average_precision": truth.mean(0)[occur].mean(),
        "commonest_exact_match": (truth == (np.arange(width) == 5)).all(1).mean(),
    }
    assert {name: found[name] for name in expected} == pytest.approx(expected)
    assert task.metrics(logits, targets, full=False) == pytest.approx({name: found[name] for name in task.directions})
    one = found["per_label"]["l3"]
    assert one == pytest.approx(
        {
            "precision": sk.precision_score(truth[:, 3], answers[:, 3]),
            "recall": sk.recall_score(truth[:, 3], answers[:, 3]),
            "f1": sk.f1_score(truth[:, 3], answers[:, 3]),
            "average_precision": sk.average_precision_score(truth[:, 3], scores[:, 3]),
            "auroc": sk.roc_auc_score(truth[:, 3], scores[:, 3]),
            "threshold": 0.6,
            "n": truth[:, 3].sum(),
        }
    )
    assert found["per_label"]["l1"] == {
        "precision": 0.0, "recall": 0.0, "f1": 0.0, "average_precision": None, "auroc": None, "threshold": 0.4, "n": 0
    }  # fmt: skip
    for name in ("average_precision", "f1_macro", "f1_micro", "exact_match"):
        low, high = found[f"{name}_ci95"]
        assert low <= found[name] < high
    assert task.metrics(logits, targets, full=True) == found, "the bootstrap is the same each time"


def test_outputs_that_are_not_finite_are_refused() -> None:
    with pytest.raises(NumericalError, match="outputs for 1 of 2 samples"):
        THREE.metrics(torch.tensor([[0.0, math.nan, 0], [0, 0, 0]]), torch.zeros(2, 3), full=False)


def test_a_split_without_any_label_has_null_and_no_error() -> None:
    found = THREE.metrics(torch.full((4, 3), -2.0), torch.zeros(4, 3), full=True)
    assert (found["average_precision"], found["chance_average_precision"], found["exact_match"]) == (None, None, 1.0)


def test_resamples_are_drawn_with_replacement_and_bounded() -> None:
    drawn = np.concatenate(list(resamples(50)))
    assert drawn.shape == (1000, 50)
    assert (drawn.sum(1) == 50).all()
    assert 0.3 < (drawn == 0).mean() < 0.42, "(1 - 1/n)^n"
    assert sum(len(part) for part in resamples(1_000, 10_000)) == 200


def test_a_resample_of_each_sample_once_is_the_sample() -> None:
    random = np.random.default_rng(0)
    scores, truth = random.random((40, 3)).round(1), random.random((40, 3)) < 0.3
    weights = np.stack([np.ones(40, int), random.integers(0, 3, 40)])
    plain, drawn = resampled_precision(scores, truth, weights)
    assert plain == pytest.approx(np.mean(average_precisions(scores, truth)))
    repeated = np.repeat(np.arange(40), weights[1])
    assert drawn == pytest.approx(np.mean(average_precisions(scores[repeated], truth[repeated])))
    answers = pd.DataFrame(scores, columns=["p(a)", "p(b)", "p(c)"])
    answers["label"] = [";".join(name for name, has in zip("abc", row, strict=True) if has) for row in truth]
    assert MultiLabel.resampled(answers, weights) == pytest.approx([plain, drawn])
    assert MultiLabel.resampled(answers[["label"]], weights) is None, "a table with the most probable labels only"


@pytest.mark.parametrize("seed", range(3))
def test_a_threshold_gets_near_the_highest_f1_that_there_is(seed: int) -> None:
    """Of calibrated probabilities the best threshold is half of the highest F1 (Lipton et al., 2014)."""
    random = np.random.default_rng(seed)
    scores = random.beta(1, 4, (4000, 1))
    truth = random.random(scores.shape) < scores
    val, test = slice(0, 2000), slice(2000, None)
    (found,) = best_thresholds(torch.tensor(scores[val]), torch.tensor(truth[val]))
    f1 = {at: sk.f1_score(truth[test], scores[test] >= at) for at in (*np.linspace(0, 0.6, 61), found)}
    assert f1[found] > max(f1.values()) - 0.02
    assert f1[found] > sk.f1_score(truth[test], scores[test] >= 0.5) + 0.05
    assert found == pytest.approx(max(f1.values()) / 2, abs=0.06)


def test_a_threshold_is_a_half_where_that_parts_the_samples_and_for_an_absent_label() -> None:
    scores = torch.tensor([[0.9, 0.8], [0.8, 0.2], [0.3, 0.1], [0.1, 0.1]])
    assert best_thresholds(scores, torch.tensor([[1, 0], [1, 0], [0, 0], [0, 0]])) == [0.5, 0.5]
    low = torch.tensor([[0.3], [0.2], [0.1], [0.1]]).repeat(20, 1)
    assert best_thresholds(low, torch.tensor([[1], [1], [0], [0]]).repeat(20, 1)) == [pytest.approx(0.15)]


def test_calibration_never_costs_likelihood_and_is_kept() -> None:
    random = torch.Generator().manual_seed(0)
    logits = torch.randn(200, 3, generator=random)
    targets = (torch.rand(200, 3, generator=random) < (logits / 4).sigmoid()).float()
    assert 1.2 < fit_temperature_of_labels(logits, targets) < 4.5
    task = THREE.calibrate(logits, targets)
    before, after = (each.metrics(logits, targets, full=True)["loss"] for each in (THREE, task))
    assert after < before
    again = task_of({"task": task.to_dict()["task"]})
    assert again == task
    assert again.table(["a"], logits[:1], None).equals(task.table(["a"], logits[:1]))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"label_names": []}, "label_names"),
        ({"label_names": [1, 2, 3]}, "label_names"),
        ({"label_counts": [1]}, "label_counts"),
        ({"thresholds": [0.1, 0.2, 7.0]}, "thresholds are not from 0 to 1"),
        ({"thresholds": ["0.1"] * 3}, "thresholds is not"),
        ({"temperature": -1}, "temperature"),
    ],
)
def test_a_changed_model_json_is_refused(change: dict[str, Any], said: str) -> None:
    card = THREE.calibrate(torch.randn(9, 3), torch.ones(9, 3)).to_dict()["task"]
    with pytest.raises(ValueError, match=said):
        MultiLabel.from_dict({"task": card | change})


def test_a_table_names_the_labels_above_their_thresholds() -> None:
    task = MultiLabel(["ant", "bee"], [1, 1], 2, "", 1.0, [0.9, 0.2])
    table = task.table(["x", "y"], torch.tensor([[2.0, -1.0], [3.0, -3.0]]), ["ant", ""])
    assert table["predicted"].tolist() == ["bee", "ant"]
    assert table.columns.tolist() == ["path", "label", "predicted", "p(ant)", "p(bee)"]
    assert table["p(ant)"].tolist() == pytest.approx([1 / (1 + math.exp(-2)), 1 / (1 + math.exp(-3))])
    assert task.tally(table) == {"predicted": "bee 1, ant 1"}
    assert task.tally(table.assign(predicted=["", None])) == {"predicted": "none 1"}


def test_of_many_labels_a_table_lists_the_most_probable() -> None:
    task = MultiLabel([f"l{i:03}" for i in range(101)], [1] * 101, 101)
    table = task.table(["x"], torch.arange(101.0)[None] - 99.5)
    assert table.columns.tolist()[:4] == ["path", "predicted", "label_1", "p_1"]
    assert table["predicted"].tolist() == ["l100"]
    assert len(table.columns) == 22
    assert table["label_10"].tolist() == ["l091"]
    assert worst_sets(table.assign(label="l000"))["missed"].tolist() == ["l000"]


def test_the_worst_answers_come_first_with_what_is_wrong() -> None:
    table = pd.DataFrame(
        {
            "path": ["right", "unsure", "sure"],
            "label": ["a", "a;b", ""],
            "predicted": ["a", "a", "b"],
            "p(a)": ["0.9", "0.8", "0.2"],
            "p(b)": ["0.1", "0.4", "0.999"],
        }
    )
    found = worst_sets(table)
    assert found["path"].tolist() == ["sure", "unsure"]
    assert found[["missed", "extra"]].to_numpy().tolist() == [["", "b"], ["b", ""]]
    assert found["loss"].tolist() == pytest.approx([-math.log(0.8) - math.log(0.001), -math.log(0.8) - math.log(0.4)])


def test_neighbours_vote_by_their_weights() -> None:
    targets = torch.tensor([[[1.0, 0, 0], [1, 1, 0]]])
    votes = THREE.vote(targets, torch.tensor([[3.0, 1.0]]))
    assert votes.sigmoid().tolist() == [pytest.approx([1.0, 0.25, 0.0], abs=2e-6)]
    assert THREE.answers(votes.sigmoid()).tolist() == [[True, False, False]], "rows are logits"


def test_a_sample_with_several_labels_has_no_one_probability() -> None:
    with pytest.raises(UserError, match=r"abstain_below=0\.5: a sample may have several labels"):
        THREE.abstaining(0.5)


@pytest.mark.parametrize("seed", range(5))
def test_every_split_has_every_label_that_three_samples_have(seed: int, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    random = np.random.default_rng(seed)
    names = [f"l{i}" for i in range(8)]
    rates = np.array([0.5, 0.3, 0.1, 0.08, 0.05, 0.04, 0.03, 0.02])
    samples = []
    for number, row in enumerate(random.random((150, 8)) < rates):
        label = ";".join(name for name, has in zip(names, row, strict=True) if has)
        samples.append(Sample(f"/{number}", str(number), label, f"{number:064}"))
    counts = Counter(name for sample in samples for name in MultiLabel.names_in(sample.label))
    task = MultiLabel.of({None: [sample.label for sample in samples]})
    splits = split_samples(samples, 0.2, 0.2, seed, task)
    assert sum(map(len, splits.values())) == 150
    assert 0.15 < len(splits["test"]) / 150 < 0.27
    for name, count in counts.items():
        if count >= 3:
            assert all(any(name in MultiLabel.names_in(s.label) for s in those) for those in splits.values()), name
    again = split_samples(samples[::-1], 0.2, 0.2, seed, task)
    assert {split: set(those) for split, those in again.items()} == {
        split: set(those) for split, those in splits.items()
    }


def test_a_limit_is_of_each_set_of_labels() -> None:
    labels = ["a;b"] * 12 + ["a"] * 12 + ["a;c", "b;c"]
    assert Counter(MultiLabel.strata(labels)) == {"a;b": 12, "a": 12, "c": 2}


def test_one_threshold_may_take_the_place_of_those_from_val() -> None:
    task = MultiLabel(["ant", "bee"], [1, 1], 2, "", 1.0, [0.9, 0.2])
    assert task.deciding(0.5).table(["x"], torch.tensor([[1.0, -1.0]]))["predicted"].tolist() == ["ant"]
    with pytest.raises(UserError, match="threshold=-1: use a probability"):
        task.deciding(-1)


@pytest.mark.parametrize("columns", [["b", "a"], ["a", "b", "c"], [" a ", "b"]])
def test_columns_of_a_model_may_be_in_any_order(columns: list[str]) -> None:
    assert MultiLabel(["a", "b"]).ordered(columns) == columns


@pytest.mark.parametrize("columns", [["a"], ["a", "c"]])
def test_columns_that_lack_a_label_of_the_model_are_refused(columns: list[str]) -> None:
    with pytest.raises(UserError, match=r"lacks b, which this model knows: use data\.label=\[a,b\]"):
        MultiLabel(["a", "b"]).ordered(columns)


def test_the_constant_answer_is_the_commonest_labels_whatever_the_temperature() -> None:
    task = replace(MultiLabel(["a", "b"]).fit(["a", "a", "b"]), temperature=3.0, thresholds=[0.9, 0.1])
    table = task.table(["1", "2"], task.constant().expand(2, -1), ["a", "b"])
    assert table["predicted"].tolist() == ["a", "a"]
