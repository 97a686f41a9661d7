"""A metric: its name, its function, its direction, and where it is shown."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor

    Measure = Callable[..., Tensor]


_BASELINES = {
    "majority": "the commonest class",
    "commonest": "the commonest labels",
    "chance": "chance",
    "mean": "the mean",
    "knn": "the neighbours",
    "tfidf": "TF-IDF",
}


class Metric(NamedTuple):
    """A metric of a split, always present in metrics.json.

    Args:
        of: (what the task gives its metrics, such as probabilities (N, C) and targets (N,)) -> scalar; None if the task
            computes it separately.
        direction: "max" or "min": which is better; None: as torchmetrics has it in `higher_is_better`, if it does.
        title: its title in a comparison of runs; empty: its name.
        each_epoch: whether it is measured after each epoch too, for metrics.csv and `monitor`.
        shown: whether the terminal and a run's page show it.
        compared: whether a comparison of runs has a column for it.
    """

    name: str
    of: "Measure | None"
    direction: str | None = None
    title: str = ""
    each_epoch: bool = True
    shown: bool = True
    compared: bool = True

    @property
    def better(self) -> str | None:
        """Which is better, "max" or "min"; None if nothing says so, and `monitor_mode` has to."""
        if self.direction:
            return self.direction
        higher = getattr(self.of, "higher_is_better", None)
        return None if higher is None else "max" if higher else "min"

    @property
    def column(self) -> str:
        """Its title in a comparison."""
        return self.title or self.name.replace("_", " ")


def titles(metrics: Sequence[Metric], *baselines: str) -> dict[str, str]:
    """Return the titles of the metrics that are shown, by name, and of the baselines beside them, such as knn_mae."""
    each = {metric.name: metric.column for metric in metrics}
    parts = ((name, *name.split("_", 1)) for name in baselines)
    return {metric.name: metric.column for metric in metrics if metric.shown} | {
        name: f"{each[metric]} of {_BASELINES[who]}" for name, who, metric in parts
    }


class torchmetric:  # noqa: N801, called like a function
    """torchmetrics' functional `multiclass_<name>` as (probabilities (N, C), targets (N,)) -> scalar."""

    def __init__(self, name: str, **arguments: Any) -> None:
        self.name, self.arguments = name, arguments

    def __call__(self, probabilities: "Tensor", targets: "Tensor") -> "Tensor":
        from torchmetrics.functional import classification  # a check of files needs no torch

        function = vars(classification)[f"multiclass_{self.name}"]
        return function(probabilities, targets, probabilities.shape[1], validate_args=False, **self.arguments)

    @property
    def higher_is_better(self) -> bool | None:
        """What torchmetrics says of the class `Multiclass<Name>`."""
        from torchmetrics import classification

        classes = {name.lower(): each for name, each in vars(classification).items()}
        return getattr(classes.get(f"multiclass{self.name.replace('_', '')}"), "higher_is_better", None)


def top5_accuracy(probabilities: "Tensor", targets: "Tensor") -> "Tensor":
    """Return the share of samples (N,) whose class is among the five most probable, or all if there are fewer."""
    best = probabilities.topk(min(5, probabilities.shape[1]), dim=1).indices
    return (best == targets[:, None]).any(1).double().mean()
