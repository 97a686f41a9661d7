"""A metric: its name, its function, its direction, and where it is shown."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor

    Measure = Callable[[Tensor, Tensor], Tensor]


class Metric(NamedTuple):
    """A metric of a split, always present in metrics.json.

    Args:
        of: (the task's outputs, such as probabilities (N, C), targets (N,)) -> scalar; None if the task computes it
            separately.
        direction: "max" or "min": which is better.
        title: its title in a comparison of runs; empty: its name.
        each_epoch: whether it is measured after each epoch too, for metrics.csv and `monitor`.
        shown: whether the terminal and a run's page show it.
        compared: whether a comparison of runs has a column for it.
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
    """Wrap torchmetrics' functional `multiclass_<name>` as (probabilities (N, C), targets (N,)) -> scalar."""

    def measure(probabilities: "Tensor", targets: "Tensor") -> "Tensor":
        from torchmetrics.functional import classification  # a check of files needs no torch

        function = vars(classification)[f"multiclass_{name}"]
        return function(probabilities, targets, probabilities.shape[1], validate_args=False, **arguments)

    return measure
