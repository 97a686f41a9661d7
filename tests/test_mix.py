"""Mixing follows torchvision's transforms, its random numbers the step's, and losses take what it gives."""

import pytest
import torch
from torchvision.transforms import v2

from ft_lightning.loss import cross_entropy
from ft_lightning.mix import cutmix, mixup, none
from ft_lightning.system.errors import UserError


@pytest.mark.parametrize(("ours", "theirs"), [(mixup, v2.MixUp), (cutmix, v2.CutMix)])
def test_a_mixed_batch_is_torchvision_s_own(ours, theirs) -> None:
    inputs = torch.randint(0, 256, (6, 3, 8, 8), dtype=torch.uint8)
    targets = torch.tensor([0, 1, 2, 0, 1, 2])
    torch.manual_seed(5)
    mixed, probabilities = ours(alpha=1.0, num_classes=3)(inputs, targets)
    torch.manual_seed(5)
    expected, labels = theirs(alpha=1.0, num_classes=3)(inputs.float(), targets)
    assert torch.equal(mixed, expected)
    assert torch.equal(probabilities, labels)
    assert not torch.equal(mixed, inputs.float())
    torch.testing.assert_close(probabilities.sum(1), torch.ones(6))
    loss = cross_entropy(label_smoothing=0.1, class_weights="balanced", class_counts=[1, 2, 3])
    assert loss(torch.randn(6, 3), probabilities).isfinite()


def test_no_mixing_is_none() -> None:
    assert none(num_classes=3) is None


@pytest.mark.parametrize("alpha", [0, -1.0, "much"])
def test_an_alpha_that_does_not_fit_is_refused(alpha: object) -> None:
    with pytest.raises(UserError, match=f"mix.alpha={alpha}"):
        mixup(alpha, num_classes=3)  # type: ignore[arg-type]
