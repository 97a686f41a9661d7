"""The contract of a task: what a target is, and how good an answer is."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol, Self

if TYPE_CHECKING:  # a check of files needs no torch
    import pandas as pd
    from torch import Tensor


class Outputs(NamedTuple):
    """A model's outputs for a whole split, in the split's order, each sample once."""

    positions: "Tensor"  # (N,) in the split
    rows: "Tensor"  # (N, ...) what the task keeps of each sample's outputs, such as logits (N, C)
    target: "Tensor"  # (N, ...)


class Details(NamedTuple):
    """What a task adds to the files of a run."""

    metrics: dict[str, Any]  # entries of metrics.json beside those of the splits
    tables: "dict[str, pd.DataFrame]"  # of report_data/, by name


class Task(Protocol):
    """From a label as written to a tensor, from outputs to an answer, and how good answers are."""

    name: ClassVar[str]  # in model.json, so that loading finds it again
    monitor: ClassVar[str]  # the metric that best.ckpt, early stopping and searches look at unless told otherwise
    directions: ClassVar[Mapping[str, str]]  # the metrics of each epoch, and whether "max" or "min" is better
    headline: ClassVar[Sequence[str]]  # the metrics that a terminal shows, the most important first
    columns: ClassVar[Mapping[str, str]]  # the metrics that a comparison of runs shows, by title; `monitor` is first
    answer: ClassVar[str | None]  # the column of predictions.csv that is the label where the answer is right, if any

    @classmethod
    def of(cls, labels: Mapping[str | None, Sequence[str]]) -> Self:
        """The task as the labels of each given split make it; of None where there are no splits yet."""

    @classmethod
    def from_dict(cls, card: Mapping[str, Any]) -> Self:
        """The task that `to_dict` described in model.json."""

    @property
    def width(self) -> int:
        """Outputs of the head."""

    def fit(self, labels: Sequence[str]) -> Self:
        """The task as the labels of train make it."""

    def missing(self, labels: Sequence[str]) -> list[str]:
        """What could not be learnt from these labels alone, in words; empty if everything can."""

    def strata(self, labels: Sequence[str]) -> Sequence[str]:
        """Within which groups of samples a split is cut."""

    def encode(self, labels: Sequence[str]) -> "Tensor":
        """Labels (N,) as targets; raises UserError for one that this task does not know."""

    def rows(self, outputs: "Tensor", target: "Tensor") -> "Tensor":
        """What is kept of a batch's outputs to measure them later, one row a sample."""

    def sums(self, outputs: "Tensor", target: "Tensor") -> "dict[str, Tensor]":
        """Metrics of a batch in training, each summed over its samples; cheap, as every step asks for them."""

    def score(self, outputs: "Tensor", target: "Tensor") -> float:
        """The one number by which heads are compared; higher is better."""

    def vote(self, targets: "Tensor", weights: "Tensor") -> "Tensor":
        """Outputs that k neighbours with these targets (N, k, ...) and weights (N, k) stand for."""

    def metrics(self, rows: "Tensor", target: "Tensor", full: bool) -> dict[str, Any]:
        """The few numbers of an epoch, or all that metrics.json says of a split, with intervals and baselines."""

    def summary(self, metrics: Mapping[str, float], n: int) -> dict[str, Any]:
        """What a search keeps of an epoch's metrics on n samples."""

    def calibrate(self, rows: "Tensor", target: "Tensor") -> Self:
        """The task with what is fitted on val; itself where nothing is to fit."""

    def details(self, outputs: Mapping[str, Outputs]) -> Details:
        """What else a run of this task leaves, for its page."""

    def table(self, names: Sequence[str], rows: "Tensor", labels: Sequence[str] | None) -> "pd.DataFrame":
        """predictions.csv: one row a sample."""

    def abstaining(self, below: float) -> Self:
        """The task whose `table` marks answers less probable than this as `uncertain`; UserError if it cannot."""

    def tally(self, answers: "pd.DataFrame") -> dict[str, str]:
        """What the terminal says of a table of answers, by name; what cannot be read has none."""

    def answers_like(self, other: "Task") -> bool:
        """Whether a head for one answers the other: the same outputs in the same order."""

    def shown(self, predictions: "pd.DataFrame") -> Sequence[str]:
        """The paths of those samples of a predictions.csv that its page shows."""

    def describe(self) -> dict[str, str]:
        """What the terminal says of it before training, by name."""

    def facts(self) -> dict[str, Any]:
        """What metrics.json says of it."""

    def arguments(self) -> dict[str, Any]:
        """What a loss may ask for."""

    def to_dict(self) -> dict[str, Any]:
        """Its entries of model.json, as plain values."""


# What conf/task names: from the labels of each split, or of None where there are no splits yet, to a task.
MakeTask = Callable[[Mapping[str | None, Sequence[str]]], Task]
