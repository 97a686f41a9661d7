"""The instruct task: a language model learns to answer, and what it writes is measured beside what its base writes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

from ft_lightning.system.errors import UserError, name_few
from ft_lightning.tasks.metric import Metric
from ft_lightning.tasks.task import Details, Outputs, Task

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from torch import Tensor

SHOWN = 24  # samples on a page
WIDTH = 3  # of an output: sum of losses, tokens that are learnt, those of them predicted right
WRITTEN = 3  # beside them in a row, where an answer was written: exact, stopped, its tokens
OWN = WIDTH + WRITTEN

METRICS = (
    Metric("loss", None, "min"),
    Metric("perplexity", None, "min"),
    Metric("token_accuracy", None, "max", shown=False),
    Metric("exact_match", None, "max", each_epoch=False),
    Metric("stop_rate", None, "max", each_epoch=False),
    Metric("answer_tokens", None, None, "tokens of an answer", each_epoch=False, compared=False),
)


@dataclass(frozen=True)
class Instruct:
    """The task of answering: labels are answers, targets their tokens; a `tasks.task.WritingTask`.

    Outputs (N, 3) are sums over the tokens of a sample that are learnt: the loss, how many there are, how many were
    predicted right. Rows of a finished run have in addition what was written, exact (0 or 1), stopped (0 or 1) and the
    number of tokens, NaN where no answer was written; after these six numbers follow those of the base model.

    Args:
        generate: answers that are written for each of val and test, at most.
        max_new_tokens: of an answer; one that is not at its end then does not stop by itself.
        answers: of the samples for which answers were written, by name: those of this model and of its base.
    """

    generate: int
    max_new_tokens: int
    answers: Mapping[str, Sequence[str]] = field(default_factory=dict, compare=False, repr=False)

    name: ClassVar[str] = "instruct"
    generates: ClassVar[bool] = True
    monitor: ClassVar[str] = "loss"
    directions: ClassVar[Mapping[str, str | None]] = {each.name: each.better for each in METRICS if each.each_epoch}
    headline: ClassVar[Mapping[str, str]] = {each.name: each.column for each in METRICS if each.shown}
    baselines: ClassVar[Mapping[str, str]] = {}
    columns: ClassVar[Mapping[str, str]] = {each.name: each.column for each in METRICS if each.compared}
    answer: ClassVar[str | None] = None
    share_right: ClassVar[str] = ""
    empty: ClassVar[str] = "none"  # of a conversation that cannot be used: its source says why

    @classmethod
    def of(
        cls,
        labels: Mapping[str | None, Sequence[str]],
        columns: Sequence[str] = (),
        generate: int = 200,
        max_new_tokens: int = 64,
    ) -> Self:
        """Make the task; raise UserError if train has no answer."""
        if not [*labels.get("train", ()), *labels.get(None, ())]:
            raise UserError(f"There is no train split, only {name_few(sorted(map(str, labels)))}: nothing to learn.")
        return cls(generate, max_new_tokens)

    @classmethod
    def read(cls, cells: str | Mapping[str, str], sep: str) -> str:
        if isinstance(cells, str):
            return cells
        raise ValueError("an answer stands in one column")

    @classmethod
    def names_in(cls, label: str) -> Sequence[str]:
        return ()

    @property
    def width(self) -> int:
        return WIDTH

    def fit(self, labels: Sequence[str]) -> Self:
        return self

    def missing(self, labels: Sequence[str]) -> list[str]:
        return []

    @classmethod
    def strata(cls, labels: Sequence[str]) -> Sequence[str]:
        return [""] * len(labels)

    def encode(self, labels: Sequence[str]) -> "Tensor":
        """Return zeros (N,): what is to be predicted are tokens of the input."""
        import torch

        return torch.zeros(len(labels))

    def rows(self, outputs: "Tensor", target: "Tensor") -> "Tensor":
        return outputs

    def sums(self, outputs: "Tensor", target: "Tensor") -> "dict[str, Tensor]":
        return {"token_accuracy": outputs[:, 2].sum()}

    def score(self, rows: "Tensor", target: "Tensor") -> float:
        """Return the loss of a token."""
        return (rows[:, 0].sum() / rows[:, 1].sum()).item()

    def ordered(self, columns: Sequence[str]) -> Sequence[str]:
        return columns

    def constant(self) -> "Tensor":
        import torch

        return torch.zeros(self.width)

    def vote(self, targets: "Tensor", weights: "Tensor") -> "Tensor":
        raise UserError("task=instruct has no answers of neighbours.")

    def metrics(self, rows: "Tensor", target: "Tensor", full: bool) -> dict[str, Any]:
        from ft_lightning.tasks.instruct_metrics import epoch_metrics, full_metrics

        return (full_metrics if full else epoch_metrics)(rows)

    def pooled(self, parts: Sequence[tuple[Self, Outputs]]) -> dict[str, Any]:
        import torch

        return self.metrics(torch.cat([outputs.rows for _, outputs in parts]), torch.empty(0), full=True)

    def summary(self, metrics: Mapping[str, float], n: int) -> dict[str, Any]:
        return {name: metrics[name] for name in ("perplexity", "token_accuracy")}

    def calibrate(self, rows: "Tensor", target: "Tensor") -> Self:
        return self

    def answered(self, answers: Mapping[str, Sequence[str]]) -> Self:
        """Return the task that knows what was written, for its `table`."""
        return replace(self, answers=answers)

    def details(self, outputs: Mapping[str, Outputs]) -> Details:
        return Details({}, {})

    def table(self, names: Sequence[str], rows: "Tensor", labels: Sequence[str] | None = None) -> "pd.DataFrame":
        """Return one row a sample: path, label, answer, exact, stopped, answer_tokens, loss, tokens, and the base's.

        `loss` is the mean over the `tokens` that are learnt. Columns of answers are empty where none was written.
        """
        from ft_lightning.tasks.instruct_metrics import answers_table

        return answers_table(self, names, rows, labels)

    def abstaining(self, below: float) -> Self:
        raise UserError(f"abstain_below={below}: an answer that is written has no probability: leave it out.")

    def deciding(self, threshold: float) -> Self:
        raise UserError(f"threshold={threshold}: it decides between classes, but this model writes: leave it out.")

    def tally(self, answers: "pd.DataFrame") -> dict[str, str]:
        written = answers[answers["error"] == ""]
        if written.empty:
            return {"answers": "none"}
        stopped, tokens = written["stopped"].astype(bool).mean(), written["answer_tokens"].astype(float).mean()
        return {"answers": f"{tokens:.0f} tokens on average, {stopped:.0%} came to an end by themselves"}

    @classmethod
    def resampled(cls, answers: "pd.DataFrame", draws: "np.ndarray") -> "np.ndarray | None":
        if not {"loss", "tokens"} <= {*answers}:
            return None
        tokens = answers["tokens"].to_numpy(float)
        return (draws @ (answers["loss"].to_numpy(float) * tokens)) / (draws @ tokens)

    def answers_like(self, other: Task) -> bool:
        return isinstance(other, Instruct)

    def shown(self, predictions: "pd.DataFrame") -> Sequence[str]:
        """Return those with the highest loss, answers that were written first."""
        written = predictions["answer"].notna() if "answer" in predictions else predictions["loss"].notna()
        in_order = predictions.assign(_written=written).sort_values(["_written", "loss"], ascending=False)
        return list(in_order["path"].head(SHOWN))

    def describe(self) -> dict[str, str]:
        return {"measured": f"up to {self.generate} answers of each of val and test, before and after"}

    def facts(self) -> dict[str, Any]:
        return {"generate": self.generate, "max_new_tokens": self.max_new_tokens}

    def arguments(self) -> dict[str, Any]:
        return {}

    def to_dict(self) -> dict[str, Any]:
        return {"task": {"name": self.name, **self.facts()}}

    @classmethod
    def from_dict(cls, card: Mapping[str, Any]) -> Self:
        """Make the task from model.json."""
        about = card["task"]
        return cls(int(about["generate"]), int(about["max_new_tokens"]))
