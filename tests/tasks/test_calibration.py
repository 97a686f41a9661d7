"""A temperature never makes val less likely, and calibration error is the one that metrics.json has."""

import math

import pytest
import torch
import torch.nn.functional as F
from torchmetrics.functional.classification import multiclass_calibration_error

from ft_lightning.tasks.calibration import before_scaling, fit_temperature, reliability


def made_up(n: int, seed: int = 0, scale: float = 1.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits (n, 5), and targets drawn from their own probabilities: calibrated but for `scale`."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(n, 5, generator=generator)
    targets = torch.multinomial(logits.softmax(1), 1, generator=generator).flatten()
    return logits * scale, targets


@pytest.mark.parametrize("scale", [0.5, 1.0, 2.0, 4.0])
def test_with_many_samples_a_known_temperature_comes_back(scale: float) -> None:
    logits, targets = made_up(50_000, scale=scale)
    assert fit_temperature(logits, targets) == pytest.approx(scale, rel=0.02)


@pytest.mark.parametrize("seed", range(20))
def test_val_is_never_less_likely_and_few_samples_move_little(seed: int) -> None:
    logits, targets = made_up(30, seed, scale=3.0)
    temperature = fit_temperature(logits, targets)
    assert F.cross_entropy(logits / temperature, targets) <= F.cross_entropy(logits, targets)
    grid = torch.linspace(-1, 2, 3001)
    loss = torch.stack([F.cross_entropy(logits / t.exp(), targets, reduction="sum") for t in grid])
    alone = grid[loss.argmin()].exp().item()
    assert abs(math.log(temperature)) < abs(math.log(alone)), "held near 1"
    assert math.log(temperature) == pytest.approx(grid[(loss + grid**2 / 0.02).argmin()].item(), abs=2e-3)


def test_where_all_answers_are_right_certainty_is_not_asked_for() -> None:
    targets = torch.arange(100) % 5
    temperature = fit_temperature(3 * F.one_hot(targets, 5).float(), targets)
    assert 0.5 < temperature < 1


@pytest.mark.parametrize("n", [1, 40, 2000])
def test_reliability_adds_up_to_the_calibration_error_of_torchmetrics(n: int) -> None:
    logits, targets = made_up(n, scale=2.0)
    bins = reliability(logits, targets)
    assert bins["n"].sum() == n
    assert ((bins["low"] < bins["confidence"]) & (bins["confidence"] <= bins["high"])).all()
    ours = ((bins["confidence"] - bins["accuracy"]).abs() * bins["n"]).sum() / n
    expected = multiclass_calibration_error(logits.double().softmax(1), targets, 5, n_bins=15)
    assert ours == pytest.approx(expected.item(), abs=1e-6)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_what_was_before_scaling_is_that_of_the_raw_logits(temperature: float) -> None:
    logits, targets = made_up(500, scale=2.0)
    expected = {
        "loss": F.cross_entropy(logits.double(), targets).item(),
        "ece": multiclass_calibration_error(logits.double().softmax(1), targets, 5, n_bins=15).item(),
    }
    assert before_scaling(logits.double() / temperature, targets, temperature) == pytest.approx(expected, abs=1e-6)
