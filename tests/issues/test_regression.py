"""What is said of labels that are numbers, and which of them are suspicious."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.datasets import load_digits

from conftest import write_pictures
from ft_lightning import build
from ft_lightning.check import check, computing, features_of
from ft_lightning.cli.compose import compose
from ft_lightning.issues import images, regression
from ft_lightning.issues.findings import Finding, Issue
from ft_lightning.issues.layout import about_groups
from ft_lightning.issues.robust import centre_and_spread, modified_z
from ft_lightning.pages.check import write as write_page
from ft_lightning.readers.sample import Inspection
from ft_lightning.runs.run import Run
from ft_lightning.system.tables import read_table, write_table
from ft_lightning.tasks.regression import Regression
from ft_lightning.train import train
from issues.test_multilabel import TINY, labelled

ONE = Regression(["age"])
AGES = [str(20 + number % 50 + number / 100) for number in range(100)]


def about(
    train: Sequence[str], val: Sequence[str] | None = None, task: Regression = ONE
) -> tuple[list[Finding], list[Issue]]:
    splits = {"train": labelled(*train), "val": labelled(*(val or train), split="val")}
    return regression.about_labels(task, splits | {"test": labelled(*train, split="test")})


def test_nothing_is_said_of_healthy_numbers() -> None:
    assert about(AGES) == ([], [])
    assert regression.about_labels(ONE, {"train": [], "val": [], "test": []}) == ([], [])
    skewed = np.exp(np.random.default_rng(0).normal(size=300))
    assert about([str(value) for value in skewed])[1] == [], "a long tail is no slip"


@pytest.mark.parametrize(
    ("train", "val", "kind", "said"),
    [
        (AGES, [*AGES, "80", "5.5"], "range", "age is beyond train's 20 to 69.99 in 2 of 102 samples of val."),
        (["0", "1", "2"] * 20, None, "few values", "age has 3 different values only: 0, 1, 2."),
        (["0"] * 150 + AGES, None, "common value", "age is 0 in 450 of 750 samples."),
        (["0", *AGES, "0"], None, "value apart", "age is 0 in 6 samples, and the next value is 20."),
        (["150", *AGES, "150"], None, "value apart", "age is 150 in 6 samples, and the next value is 69.99."),
    ],
)
def test_what_is_odd_about_numbers_is_told(train: list[str], val: list[str] | None, kind: str, said: str) -> None:
    found, issues = about(train, val)
    assert {finding.kind: finding.said for finding in found} == {kind: said}
    assert not any(finding.blocks for finding in found)
    assert issues == []


@pytest.mark.parametrize("slip", ["-999", "9999", "1e6"])
def test_a_value_far_from_all_others_is_a_row(slip: str) -> None:
    found, issues = about([*AGES, slip], AGES)
    (far,) = [finding for finding in found if finding.kind == "value"]
    assert far.said.startswith("2 values of age are far from all others, of which half are from 32")
    assert [(issue.path, issue.kind, issue.label) for issue in issues] == [
        ("train/100.png", "value", slip), ("test/100.png", "value", slip),
    ]  # fmt: skip


def test_each_of_several_targets_is_looked_at() -> None:
    pairs = [f"{age};{'1' if number % 3 else '2'}" for number, age in enumerate(AGES)]
    found, _ = about(pairs, task=Regression(["age", "stage"]))
    assert [finding.said for finding in found] == [
        "stage has 2 different values only: 1, 2.",
        "stage is 1 in 198 of 300 samples.",
        "age varies 31 times as much as stage.",
    ]
    assert "nearly that of age: monitor=val/loss" in found[-1].fix


def test_numbers_that_hardly_differ_are_counted_in_one_bin() -> None:
    splits = {"train": labelled("1000000000000000.125", "1000000000000000.25")}
    (counts,) = regression.record(ONE, splits)["targets"].values()
    assert counts["train"] == [2]


def test_a_colour_mode_that_gives_values_away() -> None:
    samples = labelled(*AGES)
    for limit, said in ((45, "Images that are L have nearly always higher values than the others."), (100, None)):
        looks = {s.digest: Inspection(64, 64, "L" if float(s.label) > limit else "RGB", "", True) for s in samples}
        (trait,) = images.traits(samples, looks)
        assert [finding.said for finding in regression.about_trait(samples, trait)] == ([said] if said else [])


def test_groups_are_counted_without_classes() -> None:
    (found,) = about_groups(labelled("1", "2", "3", "4", groups=["a", "a", "b", "b"]), Regression)
    assert found.said == "4 images are in 2 groups of 2: few."


def test_centre_and_spread_are_those_of_most() -> None:
    values = np.random.default_rng(0).normal(5, 2, size=(2000, 1))
    values[:100] = 1e6
    centre, spread = centre_and_spread(values)
    assert centre[0] == pytest.approx(5, abs=0.3)
    assert spread[0] == pytest.approx(2, abs=0.3)
    mostly_equal = np.array([[0.0]] * 8 + [[1.0], [2.0]])
    assert centre_and_spread(mostly_equal)[1][0] == pytest.approx(0.3 / 0.7979)
    assert modified_z(np.ones((5, 2))).tolist() == [[0, 0]] * 5


@pytest.fixture(scope="module")
def ink() -> tuple[torch.Tensor, np.ndarray]:
    """Features of every second handwritten digit by the real network, and how much ink each has."""
    data = build.data(compose("train", "data=digits"))
    samples = [sample for split in data.splits.values() for sample in split][::2]
    amounts = load_digits().images.sum((1, 2))
    cfg = compose("check")
    features = features_of(cfg, samples, *computing(cfg))
    return features, amounts[[int(Path(sample.name).stem) for sample in samples]]


def shifted(values: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Values of which 3 % are three standard deviations off, and the positions of those."""
    random = np.random.default_rng(seed)
    planted = random.permutation(len(values))[: round(0.03 * len(values))]
    wrong = values.copy()
    wrong[planted] += 3 * values.std() * random.choice([-1, 1], len(planted))
    return wrong, planted


def texts(values: np.ndarray) -> list[str]:
    return [";".join(f"{value:.6g}" for value in row) for row in values.reshape(len(values), -1)]


@pytest.mark.parametrize("seed", [0, 1])
def test_four_of_five_shifted_values_are_within_the_first_twice_as_many(
    ink: tuple[torch.Tensor, np.ndarray], seed: int
) -> None:
    features, values = ink
    wrong, planted = shifted(values, seed)
    found, estimated = regression.suspects(Regression(["ink"]), features, texts(wrong), None, seed=0)
    first = {at for at, _, _ in found[: 2 * len(planted)]}
    assert len(first & set(planted.tolist())) >= 0.8 * len(planted)
    scores = [score for _, _, score in found]
    assert scores == sorted(scores, reverse=True)
    said = {at: float(suggestion.removeprefix("about ")) for at, suggestion, _ in found}
    error = [abs(said[at] - values[at]) for at in planted.tolist()]
    assert np.median(error) < values.std() / 2, "it says what they should be about"
    assert 0.5 * len(planted) < estimated < 2 * len(planted)


def test_a_missing_value_of_minus_999_hides_no_other_error(ink: tuple[torch.Tensor, np.ndarray]) -> None:
    features, values = ink
    wrong, planted = shifted(values, 0)
    missing = np.setdiff1d(np.arange(0, len(values), 90), planted)
    wrong[missing] = -99999
    found, _ = regression.suspects(Regression(["ink"]), features, texts(wrong), None, seed=0)
    first = {at for at, _, _ in found[: len(missing) + 2 * len(planted)]}
    assert {at for at, _, _ in found[: len(missing)]} == set(missing.tolist())
    assert len(first & set(planted.tolist())) >= 0.8 * len(planted)


def test_of_several_targets_the_wrong_one_is_named(ink: tuple[torch.Tensor, np.ndarray]) -> None:
    features, values = ink
    pairs = np.stack([values, -values], 1)
    pairs[5, 1] += 5 * values.std()
    (at, suggestion, _), *_ = regression.suspects(Regression(["more", "less"]), features, texts(pairs), None, 0).found
    assert at == 5
    assert suggestion.startswith("less about -")


def test_groups_stay_whole_and_few_samples_are_not_judged() -> None:
    features = torch.randn(60, 200, generator=torch.Generator().manual_seed(0)).repeat_interleave(2, 0)
    values = np.random.default_rng(0).normal(size=60).repeat(2)
    pairs = [str(i // 2) for i in range(120)]
    alone, whole = (regression.suspects(ONE, features, texts(values), groups, 0).found for groups in (None, pairs))

    def errors(found: list[tuple[int, str, float]]) -> float:
        return float(np.mean([abs(float(said.removeprefix("about ")) - values[at]) for at, said, _ in found]))

    assert errors(whole) > 1.5 * errors(alone), "a copy in another fold gives the answer away"
    assert regression.suspects(ONE, features[:9], texts(values[:9]), None, 0) == ([], 0)
    assert regression.suspects(ONE, features, texts(values), [str(i % 9) for i in range(120)], 0) == ([], 0)


def test_check_and_train_look_at_numbers_and_what_is_excluded_takes_no_part(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = write_pictures(tmp_path / "data", {"x": 60})
    rows = [(f"x/{i:02d}.png", "-999" if i == 7 else f"{20 + i * 1.5:g}") for i in range(60)]
    write_table(pd.DataFrame(rows, columns=["path", "age"]), root / "ages.csv")
    options = ["task=regression", "data=image_folder", f"data.csv={root / 'ages.csv'}", f"data.root={root}", *TINY]
    options.append("data.label=age")
    (tmp_path / "check").mkdir()
    content = check(compose("check", *options), tmp_path / "check")
    assert content["can_train"]
    assert content["classes"] == {}
    counts = content["targets"]["age"]
    assert sum(sum(counts[split]) for split in ("train", "val", "test")) == 60
    assert list(content["shown"]) == ["low", "middle", "high"]
    html = (tmp_path / "check/report.html").read_text()
    for words in ("Values far from all others", "low: ", "high: 10", "age"):
        assert words in html, words
    assert write_page(Run(tmp_path / "check")).read_text() == html
    issues = read_table(tmp_path / "check/issues.csv")
    assert list(issues.columns) == ["path", "kind", "score", "label", "suggestion"]
    far = issues[issues["kind"] == "value"]
    assert far["path"].tolist() == ["x/07.png"]
    write_table(far, tmp_path / "mine.csv")
    (tmp_path / "run").mkdir()
    capsys.readouterr()
    train(compose("train", *options, "trainer.max_epochs=1"), tmp_path / "run")
    assert "far from all others" in " ".join(capsys.readouterr().out.split())
    (tmp_path / "clean").mkdir()
    excluded = f"data.exclude={tmp_path / 'mine.csv'}"
    train(compose("train", *options, excluded, "trainer.max_epochs=1"), tmp_path / "clean")
    assert "far from all others" not in " ".join(capsys.readouterr().out.split())
    split = read_table(tmp_path / "clean/split.csv")
    assert split.loc[split["excluded"] == "data.exclude", "path"].tolist() == ["x/07.png"]
