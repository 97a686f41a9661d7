"""The interface of a task, which encodes labels and measures answers."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol, Self

if TYPE_CHECKING:  # a check of files needs no torch
    import numpy as np
    import pandas as pd
    from torch import Tensor


class Outputs(NamedTuple):
    """A model's outputs for a whole split, in the split's order, each sample once."""

    positions: "Tensor"  # (N,) in the split
    rows: "Tensor"  # (N, ...) what the task keeps of each sample's outputs, such as logits (N, C)
    target: "Tensor"  # (N, ...)


class Details(NamedTuple):
    """A task's additions to the files of a run."""

    metrics: dict[str, Any]  # entries of metrics.json beside those of the splits
    tables: "dict[str, pd.DataFrame]"  # of report_data/, by name


class Task(Protocol):
    """Encodes labels as tensors, turns outputs into answers, and measures how good they are."""

    name: ClassVar[str]  # in model.json, so that loading finds it again
    generates: ClassVar[bool]  # whether its model writes answers, which are measured by writing some
    monitor: ClassVar[str]  # the default metric of best.ckpt, early stopping and searches
    directions: ClassVar[Mapping[str, str | None]]  # the metrics of each epoch, and whether "max" or "min" is better
    headline: ClassVar[Mapping[str, str]]  # the metrics that terminal and page show, and their titles, in order
    baselines: ClassVar[Mapping[str, str]]  # of full metrics: NAME_METRIC, and what answers so, to begin a sentence
    columns: ClassVar[Mapping[str, str]]  # the metrics that a comparison of runs shows, by title; `monitor` is first
    answer: ClassVar[str | None]  # the column of predictions.csv to compare with the label, if any
    share_right: ClassVar[str]  # what the share of right answers is called, where there is an answer
    empty: ClassVar[str]  # what a sample without a label is, unless `data.empty_label` says it: "error" or "none"

    @classmethod
    def of(cls, labels: Mapping[str | None, Sequence[str]], columns: Sequence[str] = ()) -> Self:
        """Make the task from the labels of each split; the key is None if there are no splits yet.

        Args:
            columns: of a table, that `data.label` names.
        """

    @classmethod
    def read(cls, cells: str | Mapping[str, str], sep: str) -> str:
        """Return a label in the one way in which this project writes it.

        Args:
            cells: a text, or the cell of each of its columns.
            sep: what stands between several labels in a text.

        Raises:
            ValueError: they are no label of this task; its message is a phrase, such as "'x' is no number".
        """

    @classmethod
    def names_in(cls, label: str) -> Sequence[str]:
        """Return the names that a label consists of, such as its class; none for a number."""

    @classmethod
    def from_dict(cls, card: Mapping[str, Any]) -> Self:
        """Make the task from the entries that `to_dict` wrote to model.json."""

    @property
    def width(self) -> int:
        """Number of outputs of the head."""

    def fit(self, labels: Sequence[str]) -> Self:
        """Return the task with its values from the labels of train, such as class counts."""

    def missing(self, labels: Sequence[str]) -> list[str]:
        """List what cannot be learnt from these labels, as phrases; empty if everything can."""

    @classmethod
    def strata(cls, labels: Sequence[str]) -> Sequence[str]:
        """Return the stratum of each sample for a stratified split."""

    def encode(self, labels: Sequence[str]) -> "Tensor":
        """Return labels (N,) as targets; raise UserError for an unknown label."""

    def rows(self, outputs: "Tensor", target: "Tensor") -> "Tensor":
        """Return the part of a batch's outputs that metrics need, one row a sample."""

    def sums(self, outputs: "Tensor", target: "Tensor") -> "dict[str, Tensor]":
        """Return metrics of a train batch, each summed over its samples; cheap, because each step calls it."""

    def score(self, rows: "Tensor", target: "Tensor") -> float:
        """Return `monitor` for these rows, the one number by which baselines are compared with the model."""

    def ordered(self, columns: Sequence[str]) -> Sequence[str]:
        """Return the columns of a label in the order of the targets; raise UserError if they are other ones."""

    def constant(self) -> "Tensor":
        """Return the row (...) of the baseline that answers all samples alike: as train's commonest, or its mean."""

    def vote(self, targets: "Tensor", weights: "Tensor") -> "Tensor":
        """Return the rows predicted by k neighbours with these targets (N, k, ...) and weights (N, k)."""

    def metrics(self, rows: "Tensor", target: "Tensor", full: bool) -> dict[str, Any]:
        """Compute an epoch's metrics, or all metrics of a split for metrics.json, with intervals and baselines."""

    def summary(self, metrics: Mapping[str, float], n: int) -> dict[str, Any]:
        """Return the part of an epoch's metrics on n samples that a search keeps."""

    def calibrate(self, rows: "Tensor", target: "Tensor") -> Self:
        """Return the task calibrated on val; itself if there is nothing to fit."""

    def pooled(self, parts: Sequence[tuple[Self, Outputs]]) -> dict[str, Any]:
        """Compute all metrics of several models' outputs together, on different samples.

        Args:
            parts: of each model its task, calibrated, and its outputs, whose targets this task has encoded.
        """

    def details(self, outputs: Mapping[str, Outputs]) -> Details:
        """Return the task's further results of a run, for its page."""

    def table(self, names: Sequence[str], rows: "Tensor", labels: Sequence[str] | None) -> "pd.DataFrame":
        """Return predictions.csv: one row a sample."""

    def abstaining(self, below: float) -> Self:
        """Return the task whose `table` marks less probable answers as `uncertain`; raise UserError if it cannot."""

    def deciding(self, threshold: float) -> Self:
        """Return the task whose `table` answers yes from this probability on; raise UserError if it cannot."""

    def tally(self, answers: "pd.DataFrame") -> dict[str, str]:
        """Summarise a table of answers for the terminal, by title; rows of unreadable files have no answer."""

    @classmethod
    def resampled(cls, answers: "pd.DataFrame", draws: "np.ndarray") -> "np.ndarray | None":
        """Return `monitor` (R,) of rows of predictions.csv in resamples that hold them so often: draws (R, N).

        None where right and wrong answers are to be counted instead, or the table lacks what it takes.
        """

    def answers_like(self, other: "Task") -> bool:
        """Return whether a head can serve both tasks: the same outputs in the same order."""

    def shown(self, predictions: "pd.DataFrame") -> Sequence[str]:
        """Return the paths of the samples in predictions.csv that the page shows."""

    def describe(self) -> dict[str, str]:
        """Describe the task for the terminal before training, by title."""

    def facts(self) -> dict[str, Any]:
        """Return the task's entries in metrics.json."""

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of the loss that depend on the task."""

    def to_dict(self) -> dict[str, Any]:
        """Return its entries of model.json, as plain values."""


class WritingTask(Task, Protocol):
    """A task that `generates`."""

    generate: int  # answers that are written for each of val and test, at most
    max_new_tokens: int  # of an answer

    def answered(self, answers: "Mapping[str, Sequence[str]]") -> Self:
        """Return the task whose `table` has these texts by name: what the model wrote, and its base."""


# The function that conf/task names: labels of each split, or of None if there are no splits yet -> task.
MakeTask = Callable[[Mapping[str | None, Sequence[str]]], Task]
