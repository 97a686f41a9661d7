"""A metric: what it is called, how it is measured, which values are better, and where it is shown."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor

    Measure = Callable[[Tensor, Tensor], Tensor]


class Metric(NamedTuple):
    """One number of a split. All have it in metrics.json.

    Args:
        of: outputs as the task has them, such as probabilities (N, C), and targets (N,) -> a scalar; None for what the
            task computes in its own way.
        direction: "max" or "min": which is better.
        title: what a comparison of runs calls it; empty: its name.
        each_epoch: whether it is measured after each epoch too, so that metrics.csv has it and `monitor` may name it.
        shown: whether the terminal and a run's page show it.
        compared: whether a comparison of runs has a column of it.
    """

    name: str
    of: "Measure | None"
    direction: str
    title: str = ""
    each_epoch: bool = True
    shown: bool = True
    compared: bool = True

    @property
    def column(self) -> str:
        """Its title in a comparison."""
        return self.title or self.name.replace("_", " ")


def torchmetric(name: str, **arguments: Any) -> "Measure":
    """`multiclass_<name>` of torchmetrics.functional.classification, as (probabilities (N, C), targets (N,)) -> scalar.

    Its number of classes is C.
    """

    def measure(probabilities: "Tensor", targets: "Tensor") -> "Tensor":
        from torchmetrics.functional import classification  # a check of files needs no torch

        function = vars(classification)[f"multiclass_{name}"]
        return function(probabilities, targets, probabilities.shape[1], validate_args=False, **arguments)

    return measure
