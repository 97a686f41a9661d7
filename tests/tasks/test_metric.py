"""What a metric says of itself."""

from collections.abc import Callable
from typing import Any

import pytest

from ft_lightning.tasks.metric import Metric, torchmetric


def test_a_comparison_has_its_title_or_its_name() -> None:
    assert Metric("f1_macro", None).column == "f1 macro"
    assert Metric("f1_macro", None, title="macro F1").column == "macro F1"


@pytest.mark.parametrize(
    ("of", "direction", "better"),
    [
        (None, "min", "min"),
        (None, None, None),
        (lambda *given: None, None, None),
        (torchmetric("matthews_corrcoef"), None, "max"),
        (torchmetric("calibration_error"), None, "min"),
        (torchmetric("calibration_error"), "max", "max"),
        (torchmetric("confusion_matrix"), None, None),
    ],
)
def test_which_is_better_is_said_or_known_to_torchmetrics(
    of: Callable[..., Any] | None, direction: str | None, better: str | None
) -> None:
    assert Metric("some", of, direction).better == better
