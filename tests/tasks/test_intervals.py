"""Intervals equal SciPy's and plain resampling, and cover the truth as often as they say."""

import numpy as np
import pytest
import torch
from scipy.stats import binomtest

from ft_lightning.tasks import intervals
from ft_lightning.tasks.intervals import difference_interval, wilson_interval
from ft_lightning.tasks.metrics import epoch_metrics, full_metrics
from tasks.test_metrics import names, problem


@pytest.mark.parametrize(("successes", "n"), [(81, 263), (15, 148), (0, 20), (1, 29), (20, 20), (0, 1), (1, 1)])
def test_wilson_interval_equals_scipys(successes: int, n: int) -> None:
    expected = binomtest(successes, n).proportion_ci(method="wilson")
    assert wilson_interval(successes, n) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_wilson_interval_has_a_width_at_both_ends() -> None:
    assert wilson_interval(0, 20) == pytest.approx([0.0, 0.1611], abs=1e-4)
    assert wilson_interval(20, 20) == pytest.approx([0.8389, 1.0], abs=1e-4)


def test_wilson_interval_holds_its_proportion_exactly() -> None:
    for n in range(1, 200):  # rounding alone left 1.0 outside for 48 of 48
        assert wilson_interval(0, n)[0] == 0.0
        assert wilson_interval(n, n)[1] == 1.0


def test_bootstrap_equals_resampling_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    logits, targets = problem(150, 5, range(5))
    cells = (targets * 5 + logits.argmax(1)).numpy()
    rng = np.random.default_rng(1)
    scores = [plain_f1(np.bincount(rng.choice(cells, 150), minlength=25).reshape(5, 5)) for _ in range(20_000)]
    monkeypatch.setattr(intervals, "_RESAMPLES", 20_000)  # so that both are within 0.002 of the limit
    found = full_metrics(logits, targets, names(5), [1] * 5)["f1_macro_ci95"]
    assert found == pytest.approx(np.percentile(scores, [2.5, 97.5]).tolist(), abs=0.004)


def plain_f1(confusion: np.ndarray) -> float:
    occurrences = confusion.sum(0) + confusion.sum(1)
    return float((2 * confusion.diagonal() / np.maximum(occurrences, 1)).sum() / (occurrences > 0).sum())


def test_bootstrap_is_deterministic_and_leaves_the_global_random_state_alone() -> None:
    arguments = (*problem(150, 5, range(5)), names(5), [1] * 5)
    state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    assert full_metrics(*arguments) == full_metrics(*arguments)
    assert torch.equal(torch.get_rng_state(), state)
    assert np.array_equal(np.random.get_state()[1], numpy_state)  # noqa: NPY002


def test_bootstrap_interval_covers_the_true_score() -> None:
    """Of the 95 % intervals of 50 data sets at least 43 hold the population's score (three standard errors)."""
    population, targets = problem(10_000, 4, range(4))
    truth = epoch_metrics(population, targets)["f1_macro"]
    covered = 0
    for part in torch.randperm(10_000, generator=torch.Generator().manual_seed(0)).split(200):
        low, high = full_metrics(population[part], targets[part], names(4), [1] * 4)["f1_macro_ci95"]
        covered += low <= truth <= high
    assert 43 <= covered < 50  # and not by being endlessly wide


def test_bootstrap_drawn_in_pieces_gives_the_same_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = (*problem(150, 5, range(5)), names(5), [1] * 5)
    whole = full_metrics(*arguments)["f1_macro_ci95"]
    monkeypatch.setattr(intervals, "_CELLS_AT_ONCE", 700)
    assert full_metrics(*arguments)["f1_macro_ci95"] == whole


@pytest.mark.parametrize(("first", "second", "n"), [(10, 4, 100), (0, 0, 30), (30, 1, 40), (3, 3, 2000)])
def test_the_interval_of_a_difference_is_walds_with_half_a_sample_more_in_each_cell(
    first: int, second: int, n: int
) -> None:
    values, samples = np.array([1, -1, 0]), np.array([first + 0.5, second + 0.5, n - first - second + 1])
    mean = np.average(values, weights=samples)
    error = np.sqrt(np.average((values - mean) ** 2, weights=samples) / samples.sum())
    low, high = mean - 1.96 * error, mean + 1.96 * error
    assert difference_interval(first, second, n) == pytest.approx((low, high), abs=1e-4)
    assert difference_interval(second, first, n) == pytest.approx((-high, -low), abs=1e-4)


def test_the_interval_of_a_difference_stays_within_what_can_be() -> None:
    assert difference_interval(3, 0, 3)[1] == 1.0
    assert difference_interval(0, 3, 3)[0] == -1.0
