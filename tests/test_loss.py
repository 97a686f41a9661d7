"""Losses: equal to torch's and scikit-learn's definitions."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hydra.utils import instantiate
from sklearn.utils.class_weight import compute_class_weight
from torch import Tensor

from ft_lightning.cli.compose import compose
from ft_lightning.loss import binary_cross_entropy, cross_entropy, huber, squared_error
from ft_lightning.system.errors import UserError

COUNTS = [5, 1, 14]
LOGITS = torch.randn(20, 3, generator=torch.Generator().manual_seed(0))
TARGETS = torch.tensor([0] * 5 + [1] + [2] * 14)


def test_the_default_is_plain_cross_entropy() -> None:
    loss = instantiate(compose("train").loss, class_counts=COUNTS)
    assert torch.equal(loss(LOGITS, TARGETS), F.cross_entropy(LOGITS, TARGETS))


def test_balanced_weights_are_those_of_scikit_learn() -> None:
    weights = torch.tensor(compute_class_weight("balanced", classes=np.arange(3), y=TARGETS.numpy()))
    loss = cross_entropy(0.0, "balanced", COUNTS)
    torch.testing.assert_close(loss.mean.weight, weights.float())
    torch.testing.assert_close(loss(LOGITS, TARGETS), F.cross_entropy(LOGITS, TARGETS, weights.float()))


def test_balanced_classes_weigh_alike_over_the_data() -> None:
    """On the data the weights were made from, the loss is the mean over classes of each class's mean loss."""
    per_sample = F.cross_entropy(LOGITS, TARGETS, reduction="none")
    expected = torch.stack([per_sample[c == TARGETS].mean() for c in range(3)]).mean()
    torch.testing.assert_close(cross_entropy(0.0, "balanced", COUNTS)(LOGITS, TARGETS), expected)


def test_label_smoothing_mixes_in_the_uniform_distribution() -> None:
    log_p = LOGITS.log_softmax(1)
    expected = 0.9 * F.nll_loss(log_p, TARGETS) - 0.1 * log_p.mean()
    torch.testing.assert_close(cross_entropy(0.1, "none", COUNTS)(LOGITS, TARGETS), expected)


@pytest.mark.parametrize(
    ("smoothing", "weights", "named"),
    [(0.0, "balancd", "loss.class_weights=balancd"), (1.5, "none", "loss.label_smoothing=1.5")],
)
def test_a_wrong_value_names_its_key(smoothing: float, weights: str, named: str) -> None:
    with pytest.raises(UserError, match=named):
        cross_entropy(smoothing, weights, COUNTS)


@pytest.mark.parametrize("targets", [torch.tensor([0, 2, 1]), torch.eye(3) * 0.8 + 0.1], ids=["classes", "mixed"])
@pytest.mark.parametrize("class_weights", ["none", "balanced"])
def test_a_sample_with_weight_2_counts_like_two_of_it(targets: Tensor, class_weights: str) -> None:
    loss = cross_entropy(0.1, class_weights, [5, 3, 2])
    logits = torch.randn(3, 3)
    twice = torch.tensor([0, 1, 1, 2])
    found = loss(logits, targets, torch.tensor([1.0, 2.0, 1.0]))
    expected = loss(logits[twice], targets[twice])
    if targets.ndim == 1 or class_weights == "none":
        assert found.item() == pytest.approx(expected.item())
    assert loss(logits, targets, torch.ones(3)).item() == pytest.approx(loss(logits, targets).item())
    gone = loss(logits, targets, torch.tensor([1.0, 0.0, 1.0]))
    assert gone.item() == pytest.approx(loss(logits[[0, 2]], targets[[0, 2]]).item())


def test_weights_hold_for_several_labels_too() -> None:
    loss = binary_cross_entropy("balanced", [2, 1], 3)
    logits, targets = torch.randn(3, 2), torch.tensor([[1.0, 0], [1, 1], [0, 0]])
    twice = torch.tensor([0, 1, 1, 2])
    found = loss(logits, targets, torch.tensor([1.0, 2.0, 1.0]))
    assert found.item() == pytest.approx(loss(logits[twice], targets[twice]).item())


@pytest.mark.parametrize("width", [1, 2])
def test_losses_of_numbers_are_those_of_torch_also_by_weight(width: int) -> None:
    outputs, targets = torch.randn(2, 6, width, generator=torch.Generator().manual_seed(0)) * 2
    torch.testing.assert_close(squared_error()(outputs, targets), F.mse_loss(outputs, targets))
    torch.testing.assert_close(huber(0.5)(outputs, targets), F.huber_loss(outputs, targets, delta=0.5))
    twice = torch.tensor([0, 1, 1, 2, 3, 4, 5])
    for loss in (squared_error(), huber(1.0)):
        weights = torch.tensor([1.0, 2.0, 1.0, 1.0, 1.0, 1.0])
        torch.testing.assert_close(loss(outputs, targets, weights), loss(outputs[twice], targets[twice]))
    with torch.autocast("cpu", torch.bfloat16):
        assert huber(1.0)(outputs.bfloat16(), targets).isfinite()


@pytest.mark.parametrize("delta", [0, -1.0, float("inf"), float("nan")])
def test_huber_s_delta_is_above_0(delta: float) -> None:
    with pytest.raises(UserError, match=r"loss\.delta=.* does not fit: use a number above 0"):
        huber(delta)


@pytest.mark.parametrize("balanced", ["none", "balanced"])
def test_samples_without_any_weight_have_no_loss(balanced: str) -> None:
    outputs = torch.randn(3, 2, requires_grad=True)
    loss = cross_entropy(0.0, balanced, [1, 2])(outputs, torch.tensor([0, 1, 1]), torch.zeros(3))
    loss.backward()
    assert loss.item() == 0
    assert outputs.grad is not None
    assert not outputs.grad.any()
