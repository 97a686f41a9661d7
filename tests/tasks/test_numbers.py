"""Labels that are numbers: what is read as a number and what is not, how they are split, how wide intervals are."""

import itertools
import math
import re
from collections import Counter

import numpy as np
import pandas as pd
import pytest

from ft_lightning.system.errors import UserError
from ft_lightning.tasks import numbers


@pytest.mark.parametrize(
    ("written", "label"),
    [
        ("3", "3"), ("3.0", "3"), (" 4 ", "4"), ("1e3", "1000"), ("1E-3", "0.001"), (".5", "0.5"), ("5.", "5"),
        ("+2", "2"), ("-0", "0"), ("-0.0", "0"), ("-1.50", "-1.5"), ("0.1", "0.1"), ("\u00a07", "7"),
        ("1e22", "1e+22"), ("1e-400", "0"), ("12345678.25", "12345678.25"), ("1;2.0", "1;2"), (" 1 ; -2 ", "1;-2"),
    ],
)  # fmt: skip
def test_a_number_is_read_however_it_is_written(written: str, label: str) -> None:
    assert numbers.read_label(written, ";") == label
    assert numbers.read_label(label, ";") == label, "as in a run's own split.csv"


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("3,5", "'3,5' has a comma: write 3.5"),
        ("-0,25", "'-0,25' has a comma: write -0.25"),
        ("1,500", "'1,500' has a comma: write 1.500 or 1500"),
        ("12,3456", "'12,3456' has a comma: write 12.3456"),
        ("1,500,000", "'1,500,000' has signs between its thousands"),
        ("1.500.000", "signs between its thousands"),
        ("1,500.5", "signs between its thousands"),
        ("1.500,5", "signs between its thousands"),
        ("1 500", "signs between its thousands"),
        ("1'500", "signs between its thousands"),
        ("1_500", "signs between its thousands"),
        ("nan", "'nan' is no number: leave the cell empty, and say data.empty_label=skip"),
        ("N/A", "'N/A' is no number: leave the cell empty"),
        ("-Inf", "'-Inf' is no finite number"),
        ("1e999", "'1e999' is no finite number"),
        ("cat", "'cat' is no number"),
        ("0x10", "'0x10' is no number"),
        ("3 kg", "'3 kg' is no number"),
        ("1_5", "'1_5' is no number"),
        ("٣", "'٣' is no number"),
        ("1;;2", "'1;;2': a blank beside numbers"),
        ("1;x", "'1;x': 'x' is no number"),
    ],
)
def test_what_is_no_number_is_refused_in_words(written: str, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        numbers.read_label(written, ";")


def test_cells_of_several_columns_are_named() -> None:
    assert numbers.read_label({"x": "1.0", "y": " 2"}, ";") == "1;2"
    assert numbers.read_label({"age": "30"}, ";") == "30"
    with pytest.raises(ValueError, match=r"^y: '3,5' has a comma: write 3\.5$"):
        numbers.read_label({"x": "1", "y": "3,5"}, ";")
    with pytest.raises(ValueError, match=r"^x: a blank beside numbers$"):
        numbers.read_label({"x": " ", "y": "3"}, ";")
    with pytest.raises(ValueError, match=r"^'1;2' is no number$"):
        numbers.read_label({"age": "1;2"}, ";")
    assert numbers.read_label("1.5|2", "|") == "1.5;2"


def test_targets_have_the_names_of_their_columns() -> None:
    assert numbers.target_names(["age"], 1) == ["age"]
    assert numbers.target_names(["x", "y"], 2) == ["x", "y"]
    assert numbers.target_names([], 1) == ["value"]
    assert numbers.target_names([], 2) == ["value_1", "value_2"]
    assert numbers.target_names(["at"], 2) == ["at_1", "at_2"]
    with pytest.raises(UserError, match=r"data\.label names x twice"):
        numbers.target_names(["x", "x"], 1)


def test_unequally_many_numbers_are_named() -> None:
    with pytest.raises(UserError, match=r"unequally many numbers: 1 \(3\) and 2 \(1;2\)"):
        numbers.values_of(["3", "1;2"])


@pytest.mark.parametrize("n", [1, 9, 10, 19, 20, 57, 100, 1000])
def test_strata_are_quantiles_of_at_least_ten_samples(n: int) -> None:
    values = np.random.default_rng(n).lognormal(size=(n, 1))
    strata = numbers.strata(values)
    counts = Counter(strata)
    assert len(counts) == min(10, max(1, n // 10))
    assert min(counts.values()) >= min(n, 10)
    assert max(counts.values()) - min(counts.values()) <= 1, "as many in each"
    ranges = sorted(tuple(map(float, name.split(" to "))) for name in counts)
    assert all(one[1] < other[0] for one, other in itertools.pairwise(ranges)), "they do not overlap"


def test_equal_values_lie_in_one_stratum_which_has_ten_samples_all_the_same() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        n = int(rng.integers(20, 400))
        values = np.concatenate([rng.integers(0, 6, n // 2) ** 3, rng.normal(size=n - n // 2) * 50]).round(1)
        found = pd.DataFrame({"value": values, "stratum": numbers.strata(values[:, None])})
        assert len(found.drop_duplicates()) == len(found["value"].unique())
        assert found["stratum"].value_counts().min() >= 10
        assert found["stratum"].nunique() <= 10


def test_few_values_are_strata_of_their_own() -> None:
    """The solar cells: four probabilities, very unequally frequent."""
    values = np.repeat([0, 1 / 3, 2 / 3, 1], [1508, 295, 106, 715])[:, None]
    assert sorted(Counter(numbers.strata(values)).values()) == [106, 295, 715, 1508]


def test_values_that_differ_in_their_last_digits_have_strata_of_their_own() -> None:
    values = 1e9 + np.arange(100)[:, None] / 64
    assert len(set(numbers.strata(values))) == 10


def test_several_targets_are_cut_one_within_the_other() -> None:
    values = np.random.default_rng(0).normal(size=(900, 2))
    counts = Counter(numbers.strata(values))
    assert len(counts) == 9
    assert set(counts.values()) == {100}
    assert all(", " in name for name in counts)
    assert len(set(numbers.strata(np.random.default_rng(0).normal(size=(900, 3))))) == 8
    assert min(Counter(numbers.strata(values[:65])).values()) >= 10


@pytest.mark.parametrize("n", [9, 10, 19, 29, 99, 500])
def test_half_widths_are_the_residual_of_the_rank_that_conformal_prediction_says(n: int) -> None:
    residuals = np.random.default_rng(n).normal(size=(n, 2)) * [1, 10]
    rank = math.ceil(round((n + 1) * 0.9, 9))
    assert numbers.enough(n, 90)
    assert numbers.half_widths(residuals, 90).tolist() == np.sort(np.abs(residuals), 0)[rank - 1].tolist()


def test_half_widths_of_few_samples_are_the_largest_residual() -> None:
    assert not numbers.enough(8, 90)
    assert numbers.half_widths(np.array([[1.0], [-3.0], [2.0]]), 90).tolist() == [3.0]
    assert [numbers.enough(n, 95) for n in (18, 19)] == [False, True]


def test_intervals_cover_what_they_promise() -> None:
    """On average over draws of val: exchangeability is all that split-conformal prediction asks for."""
    rng = np.random.default_rng(0)
    covered = []
    for _ in range(400):
        val, test = rng.standard_cauchy((40, 1)), rng.standard_cauchy((200, 1))
        covered.append((np.abs(test) <= numbers.half_widths(val, 90)).mean())
    assert 0.895 < np.mean(covered) < 0.915  # of (1 + 40) * 0.9 rounded up, 37 / 41 = 0.902


def test_the_worst_samples_are_farthest_off_in_standard_deviations() -> None:
    table = pd.DataFrame({"path": list("abcd"), "label": ["1;100", "2;200", "3;300", "4;400"]})
    table["predicted(x)"] = ["1.0", "2.0", "5.0", "4.0"]
    table["predicted(y)"] = ["150.0", "200.0", "300.0", "401.0"]
    assert numbers.worst(table, 3)["path"].tolist() == ["c", "a", "d"]


@pytest.mark.parametrize(
    ("columns", "order"),
    [(["x", "y"], ["x", "y"]), (["y", "x"], ["x", "y"]), (["a", "b"], ["a", "b"])],
)
def test_columns_are_found_by_name_and_others_keep_their_order(
    columns: list[str], order: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    assert numbers.ordered(columns, ["x", "y"]) == order
    assert ("a, b are taken for x, y, in this order" in caplog.text) == (columns == ["a", "b"])


@pytest.mark.parametrize("columns", [["x"], ["x", "z"], ["z", "x"], ["x", "y", "z"], ["a", "b", "c"], ["a"]])
def test_columns_of_other_targets_are_refused_with_those_that_fit(columns: list[str]) -> None:
    said = rf"data\.label=\[{','.join(columns)}\]: this model predicts x, y: use data\.label=\[x,y\]"
    with pytest.raises(UserError, match=said):
        numbers.ordered(columns, ["x", "y"])
    assert numbers.ordered(["years"], ["age"]) == ["years"], "one column cannot be in another order"


@pytest.mark.parametrize("values", [[1e15, 1e15 + 0.125], [5.0, 5.0], [1e300, 1e300], [0.0, 5e-324], [3.0, 4.0]])
def test_bins_hold_all_values_however_near_they_are(values: list[float]) -> None:
    edges = numbers.bin_edges(np.array(values), 30)
    assert np.isfinite(edges).all()
    assert (np.diff(edges) > 0).all()
    assert np.histogram(values, edges)[0].sum() == 2
