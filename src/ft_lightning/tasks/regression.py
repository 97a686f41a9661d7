"""The regression task: each sample has one number, or several."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

from ft_lightning.system.errors import UserError, name_few, number_of, printable
from ft_lightning.tasks import numbers
from ft_lightning.tasks.distances import mae, r2, rmse, spearman
from ft_lightning.tasks.metric import Metric, titles
from ft_lightning.tasks.task import Details, Outputs, Task

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from torch import Tensor

# Methods import NumPy and torch themselves, because a check of files needs numbers but no torch.
SHOWN = 24  # samples on a page
PERCENT = 90  # of the true values that intervals are to hold

# Functions of predicted and true values (N,) of one target; of several targets the mean counts. Add a line for a
# metric of your own.
METRICS = (
    Metric("mae", mae, "min", "MAE"),
    Metric("rmse", rmse, "min", "RMSE"),
    Metric("r2", r2, "max", "R²"),
    Metric("spearman", spearman, "max", "Spearman's rho"),
    Metric("coverage90", None, "max", "coverage of 90 % intervals", each_epoch=False),
    Metric("loss", None, "min"),
)


@dataclass(frozen=True)
class Regression:
    """The task of K numbers a sample; a `tasks.task.Task`.

    Outputs and targets (N, K) are standardised by mean and standard deviation of train, so that a head starts near
    them and `loss` is in the same unit for all; metrics and tables are in the labels' own units.

    Args:
        targets: names of the K numbers.
        mean, sd: of each in train; empty before `fit`.
        half_width: of the 90 % interval around each prediction, from val; empty before `calibrate`.
    """

    targets: list[str]
    mean: list[float] = field(default_factory=list)
    sd: list[float] = field(default_factory=list)
    half_width: list[float] = field(default_factory=list)

    name: ClassVar[str] = "regression"
    generates: ClassVar[bool] = False
    monitor: ClassVar[str] = "mae"
    directions: ClassVar[Mapping[str, str | None]] = {each.name: each.better for each in METRICS if each.each_epoch}
    headline: ClassVar[Mapping[str, str]] = titles(METRICS, "mean_mae", "mean_rmse", "mean_r2", "knn_mae", "tfidf_mae")
    baselines: ClassVar[Mapping[str, str]] = {"mean_mae": "Always answering the mean of train"}
    columns: ClassVar[Mapping[str, str]] = {each.name: each.column for each in METRICS if each.compared}
    answer: ClassVar[str | None] = None
    share_right: ClassVar[str] = ""
    empty: ClassVar[str] = "error"

    @classmethod
    def of(cls, labels: Mapping[str | None, Sequence[str]], columns: Sequence[str] = ()) -> Self:
        """Make the task of these targets; raise UserError if train has none, or one that is always the same."""
        known = [*labels.get("train", ()), *labels.get(None, ())]
        if not known:
            raise UserError(f"There is no train split, only {name_few(sorted(map(str, labels)))}: nothing to learn.")
        numbers.values_of([label for those in labels.values() for label in those])
        task = cls(numbers.target_names(columns, known[0].count(numbers.SEP) + 1))
        if constant := task._constant(known):
            raise UserError(f"All samples of train have the same {name_few(constant)}: there is nothing to learn.")
        task.fit(known)  # which refuses numbers without a finite deviation
        return task

    @classmethod
    def read(cls, cells: str | Mapping[str, str], sep: str) -> str:
        return numbers.read_label(cells, sep)

    @classmethod
    def names_in(cls, label: str) -> Sequence[str]:
        return ()

    @property
    def width(self) -> int:
        return len(self.targets)

    def fit(self, labels: Sequence[str]) -> Self:
        mean, sd = numbers.mean_and_sd(numbers.values_of(labels))
        return replace(self, mean=mean, sd=sd)

    def _constant(self, labels: Sequence[str]) -> list[str]:
        values = numbers.values_of(labels)
        same = (values == values[0]).all(0)
        return [name for name, one in zip(self.targets, same, strict=True) if one]

    def missing(self, labels: Sequence[str]) -> list[str]:
        return [f"a second value of {name}" for name in self._constant(labels)] if labels else []

    @classmethod
    def strata(cls, labels: Sequence[str]) -> Sequence[str]:
        """Return the range of quantiles that each label lies in."""
        return numbers.strata(numbers.values_of(labels)) if labels else []

    def encode(self, labels: Sequence[str]) -> "Tensor":
        """Return the standardised numbers (N, K)."""
        import torch

        labels = [labels] if isinstance(labels, str) else labels  # a text is a sequence of texts too
        values = torch.from_numpy(numbers.values_of(labels)) if labels else torch.empty(0, self.width).double()
        if values.shape[1] != self.width:
            raise UserError(
                f"A label has {number_of(values.shape[1], 'number')} ({labels[0]}), this model predicts {self.width}: "
                f"{name_few(self.targets)}. Name as many columns in data.label."
            )
        targets = self.standardised(values).float()
        if not targets.isfinite().all():
            raise UserError(f"The numbers go up to {values.abs().max():g}, train's did not: look at the labels.")
        return targets

    def original(self, standardised: "Tensor") -> "Tensor":
        """Return outputs or targets (N, K) in the labels' own units, as float64."""
        values = standardised.double()
        return values * values.new_tensor(self.sd) + values.new_tensor(self.mean)

    def standardised(self, values: "Tensor") -> "Tensor":
        """Return numbers (N, K) of float64 in standard deviations from the mean of train."""
        return (values - values.new_tensor(self.mean)) / values.new_tensor(self.sd)

    def rows(self, outputs: "Tensor", target: "Tensor") -> "Tensor":
        return outputs

    def sums(self, outputs: "Tensor", target: "Tensor") -> "dict[str, Tensor]":
        sd = outputs.new_tensor(self.sd, dtype=target.dtype)
        return {"mae": ((outputs - target).abs() * sd).mean(1).sum()}

    def score(self, rows: "Tensor", target: "Tensor") -> float:
        """Return the mean absolute error."""
        return (self.original(rows) - self.original(target)).abs().mean().item()

    def ordered(self, columns: Sequence[str]) -> Sequence[str]:
        return numbers.ordered(columns, self.targets)

    def constant(self) -> "Tensor":
        import torch

        return torch.zeros(self.width)

    def vote(self, targets: "Tensor", weights: "Tensor") -> "Tensor":
        """Return the weighted mean of the neighbours' numbers (N, K)."""
        return (targets * weights[..., None]).sum(1) / weights.sum(1, keepdim=True)

    def metrics(self, rows: "Tensor", target: "Tensor", full: bool) -> dict[str, Any]:
        from ft_lightning.tasks.number_metrics import epoch_metrics, full_metrics

        return (full_metrics if full else epoch_metrics)(self, rows, target)

    def pooled(self, parts: Sequence[tuple[Self, Outputs]]) -> dict[str, Any]:
        from ft_lightning.tasks import number_metrics

        return number_metrics.pooled_metrics(self, parts)

    def summary(self, metrics: Mapping[str, float], n: int) -> dict[str, Any]:
        return {name: metrics[name] for name in ("mae", "r2")}

    def calibrate(self, rows: "Tensor", target: "Tensor") -> Self:
        residuals = self.original(rows) - self.original(target)
        return replace(self, half_width=numbers.half_widths(residuals.numpy(), PERCENT).tolist())

    def details(self, outputs: Mapping[str, Outputs]) -> Details:
        from ft_lightning.tasks.number_metrics import interval_details

        return interval_details(self, outputs)

    def table(self, names: Sequence[str], rows: "Tensor", labels: Sequence[str] | None = None) -> "pd.DataFrame":
        """Return one row a sample: path, label if known, predicted number, low and high of its 90 % interval.

        With several targets these are predicted(name), low(name) and high(name) for each.
        """
        import pandas as pd

        predicted = self.original(rows).numpy()
        columns: dict[str, Any] = {"path": names, **({"label": labels} if labels else {})}
        for i, column in enumerate(numbers.predicted_columns(self.targets).values()):
            columns[column] = predicted[:, i]
            if self.half_width:
                columns[column.replace("predicted", "low", 1)] = predicted[:, i] - self.half_width[i]
                columns[column.replace("predicted", "high", 1)] = predicted[:, i] + self.half_width[i]
        return pd.DataFrame(columns)

    def abstaining(self, below: float) -> Self:
        raise UserError(
            f"abstain_below={below}: a number has no probability: leave it out, and look at the columns low and high."
        )

    def deciding(self, threshold: float) -> Self:
        raise UserError(
            f"threshold={threshold}: it decides between classes, but this model predicts numbers: leave it out."
        )

    def tally(self, answers: "pd.DataFrame") -> dict[str, str]:
        said = []
        for target, column in numbers.predicted_columns(self.targets).items():
            values = answers[column].dropna().astype(float)
            if len(values):
                named = f"{printable(target)} " if self.width > 1 else ""
                said.append(f"{named}{values.mean():.4g} on average, {values.min():.4g} to {values.max():.4g}")
        return {"predicted": "; ".join(said) or "nothing"}

    @classmethod
    def resampled(cls, answers: "pd.DataFrame", draws: "np.ndarray") -> "np.ndarray | None":
        import numpy as np

        errors = np.abs(numbers.predictions_of(answers) - numbers.values_of(answers["label"].tolist())).mean(1)
        return draws @ errors / draws.sum(1)

    def answers_like(self, other: Task) -> bool:
        return isinstance(other, Regression) and other.targets == self.targets

    def shown(self, predictions: "pd.DataFrame") -> Sequence[str]:
        return list(numbers.worst(predictions, SHOWN)["path"])

    def describe(self) -> dict[str, str]:
        each = zip(self.targets, self.mean, self.sd, strict=True)
        said = [f"{printable(name)}: mean {mean:.4g}, standard deviation {sd:.4g}" for name, mean, sd in each]
        return {"target" + "s" * (self.width > 1): "; ".join(said)}

    def facts(self) -> dict[str, Any]:
        return {"targets": self.targets, "mean": self.mean, "sd": self.sd}

    def arguments(self) -> dict[str, Any]:
        return {}

    def to_dict(self) -> dict[str, Any]:
        return {"task": {"name": self.name, **asdict(self)}}

    @classmethod
    def from_dict(cls, card: Mapping[str, Any]) -> Self:
        """Make the task from model.json."""
        about = card["task"]
        numbers.check_card(about)
        return cls(about["targets"], about["mean"], about["sd"], about["half_width"])
