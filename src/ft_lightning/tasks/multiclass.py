"""The multi-class task: each sample has exactly one of several classes."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

from ft_lightning.system.errors import UserError, name_few, number_of, printable
from ft_lightning.tasks import label_sets
from ft_lightning.tasks.columns import probabilities_by_name, probability, some_of
from ft_lightning.tasks.intervals import wilson_interval
from ft_lightning.tasks.metric import Metric, titles, top5_accuracy, torchmetric
from ft_lightning.tasks.shown import least_certain, worst_errors
from ft_lightning.tasks.task import Details, Outputs, Task

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from torch import Tensor

# Methods import torch themselves, because a check of files needs classes but no torch.
_SHOWN = 10  # classes on the terminal


# Functions of probabilities (N, C) and classes (N,). Add a line for a metric of your own.
METRICS = (
    Metric("accuracy", torchmetric("accuracy", average="micro"), "max"),
    Metric("top5_accuracy", top5_accuracy, "max", "top-5 accuracy", each_epoch=False, compared=False),
    Metric("f1_macro", torchmetric("f1_score", average="macro"), "max", "macro F1"),
    Metric("precision_macro", torchmetric("precision"), "max", each_epoch=False, shown=False, compared=False),
    Metric("recall_macro", torchmetric("recall"), "max", each_epoch=False, shown=False, compared=False),
    Metric("auroc", None, "max", "AUROC", each_epoch=False, compared=False),
    Metric("loss", None, "min"),
    Metric("ece", torchmetric("calibration_error", n_bins=15, norm="l1"), "min", "ECE", each_epoch=False),
)


@dataclass(frozen=True)
class MultiClass:
    """The task of one class a sample; a `tasks.task.Task`. Rows are logits (N, C), targets class indices (N,).

    Args:
        class_names: sorted; the position of a name is its class index.
        class_counts: samples of each in train, none of them 0; empty before `fit`.
        temperature: divides the logits; fitted on val.
        abstain_below: the probability below which a table marks an answer as uncertain.
        threshold: of two classes the second is answered from this probability on; None: the more probable one.
    """

    class_names: list[str]
    class_counts: list[int]
    temperature: float = 1.0
    abstain_below: float | None = None
    threshold: float | None = None

    name: ClassVar[str] = "multiclass"
    generates: ClassVar[bool] = False
    monitor: ClassVar[str] = "accuracy"
    directions: ClassVar[Mapping[str, str | None]] = {each.name: each.better for each in METRICS if each.each_epoch}
    headline: ClassVar[Mapping[str, str]] = titles(METRICS, "majority_accuracy", "knn_accuracy", "tfidf_accuracy")
    baselines: ClassVar[Mapping[str, str]] = {"majority_accuracy": "Always answering the commonest class of train"}
    columns: ClassVar[Mapping[str, str]] = {each.name: each.column for each in METRICS if each.compared}
    answer: ClassVar[str | None] = "predicted"
    share_right: ClassVar[str] = "accuracy"
    empty: ClassVar[str] = "error"

    @classmethod
    def of(cls, labels: Mapping[str | None, Sequence[str]], columns: Sequence[str] = ()) -> Self:
        """Make the task of train's classes; raise UserError if another split has others or there is only one."""
        names = sorted({*labels.get("train", ()), *labels.get(None, ())})
        label_sets.suspect(names, "classes", "task=multilabel")
        if not names:
            raise UserError(
                f"There is no train split, only {name_few(sorted(map(str, labels)))}: nothing to learn from."
            )
        for split, those in labels.items():
            if unknown := sorted(set(those) - set(names)):
                raise UserError(
                    f"The {split} split has {number_of(len(unknown), 'class', 'classes')} that train does not know: "
                    f"{name_few(unknown)}. Add them to train, or take them out."
                )
        if len(names) < 2:
            raise UserError(f"The data has one class only ({name_few(names)}): a classifier needs at least two.")
        return cls(names, [])

    @classmethod
    def read(cls, cells: str | Mapping[str, str], sep: str) -> str:
        if not isinstance(cells, str):
            raise ValueError("several columns; for one class, name one column")
        return cells

    @classmethod
    def names_in(cls, label: str) -> Sequence[str]:
        return [label]

    @property
    def width(self) -> int:
        return len(self.class_names)

    def fit(self, labels: Sequence[str]) -> Self:
        counts = Counter(labels)
        return replace(self, class_counts=[counts[name] for name in self.class_names])

    def missing(self, labels: Sequence[str]) -> list[str]:
        return [f"the class {name}" for name in sorted(set(self.class_names) - set(labels))]

    @classmethod
    def strata(cls, labels: Sequence[str]) -> Sequence[str]:
        return labels

    def encode(self, labels: Sequence[str]) -> "Tensor":
        """Return class indices (N,)."""
        import torch

        labels = [labels] if isinstance(labels, str) else labels  # a text is a sequence of texts too
        number = {name: i for i, name in enumerate(self.class_names)}
        if unknown := sorted(set(labels) - number.keys()):
            known = name_few(self.class_names)
            raise UserError(
                f"{number_of(len(unknown), 'label is no class', 'labels are no classes')} of this model: "
                f"{name_few(unknown)}. It knows {known}."
            )
        return torch.tensor([number[label] for label in labels])

    def rows(self, outputs: "Tensor", target: "Tensor") -> "Tensor":
        return outputs

    def sums(self, outputs: "Tensor", target: "Tensor") -> "dict[str, Tensor]":
        label = target if target.ndim == 1 else target.argmax(1)  # (B, C) where a batch is mixed
        return {"accuracy": (outputs.argmax(1) == label).sum().float()}

    def score(self, rows: "Tensor", target: "Tensor") -> float:
        """Return the accuracy."""
        return (rows.argmax(1) == target).double().mean().item()

    def ordered(self, columns: Sequence[str]) -> Sequence[str]:
        return columns

    def constant(self) -> "Tensor":
        import torch

        return torch.eye(len(self.class_names))[self.class_counts.index(max(self.class_counts))]

    def vote(self, targets: "Tensor", weights: "Tensor") -> "Tensor":
        import torch

        return torch.zeros(len(targets), len(self.class_names)).scatter_add_(1, targets, weights)

    def metrics(self, rows: "Tensor", target: "Tensor", full: bool) -> dict[str, Any]:
        from ft_lightning.tasks.metrics import epoch_metrics, full_metrics

        given = rows / self.temperature, target
        return full_metrics(*given, self.class_names, self.class_counts) if full else epoch_metrics(*given)

    def summary(self, metrics: Mapping[str, float], n: int) -> dict[str, Any]:
        accuracy = metrics["accuracy"]
        return {"accuracy": accuracy, "accuracy_ci95": wilson_interval(round(accuracy * n), n)}

    def calibrate(self, rows: "Tensor", target: "Tensor") -> Self:
        from ft_lightning.tasks.calibration import fit_temperature

        return replace(self, temperature=fit_temperature(rows, target))

    def pooled(self, parts: Sequence[tuple[Self, Outputs]]) -> dict[str, Any]:
        from ft_lightning.tasks.metrics import pooled_metrics

        return pooled_metrics(self, parts)

    def details(self, outputs: Mapping[str, Outputs]) -> Details:
        from ft_lightning.tasks.calibration import before_and_after

        scaled = {split: (each.rows / self.temperature, each.target) for split, each in outputs.items()}
        before, bins = before_and_after(scaled, self.temperature)
        return Details({"calibration": {"temperature": self.temperature, "before": before}}, {"reliability": bins})

    def table(self, names: Sequence[str], rows: "Tensor", labels: Sequence[str] | None = None) -> "pd.DataFrame":
        """Return one row a sample: path, label if known, predicted class, its probability, p(class) for each class.

        If the task abstains, `uncertain` follows the probability. With more than 100 classes only the ten most probable
        are listed, as class_1, p_1 ... class_10, p_10.
        """
        import pandas as pd

        probabilities = (rows / self.temperature).double().softmax(1)
        best, predicted = probabilities.max(1)
        if self.threshold is not None:
            predicted = (probabilities[:, 1] >= self.threshold).long()
            best = probabilities.gather(1, predicted[:, None])[:, 0]
        columns: dict[str, Any] = {
            "path": names,
            **({"label": labels} if labels else {}),
            "predicted": [self.class_names[i] for i in predicted],
            "probability": best.numpy(),
        }
        if self.abstain_below is not None:
            columns["uncertain"] = (best.numpy() < self.abstain_below).astype(object)  # beside None
        return pd.DataFrame(columns | probabilities_by_name(self.class_names, probabilities, "class"))

    def abstaining(self, below: float) -> Self:
        return replace(self, abstain_below=probability(below, "abstain_below"))

    def deciding(self, threshold: float) -> Self:
        if len(self.class_names) != 2:
            raise UserError(
                f"threshold={threshold}: of {len(self.class_names)} classes the most probable is answered, and only of "
                "two can it be another; leave it out."
            )
        return replace(self, threshold=probability(threshold, "threshold"))

    def tally(self, answers: "pd.DataFrame") -> dict[str, str]:
        counts = answers["predicted"].value_counts().head(_SHOWN)
        tally = {"predicted": ", ".join(f"{printable(str(name))} {count:,}" for name, count in counts.items())}
        if "uncertain" in answers.columns:
            tally["uncertain"] = f"{answers['uncertain'].eq(True).sum():,}"
        return tally

    @classmethod
    def resampled(cls, answers: "pd.DataFrame", draws: "np.ndarray") -> "np.ndarray | None":
        return None

    def answers_like(self, other: Task) -> bool:
        return isinstance(other, MultiClass) and other.class_names == self.class_names

    def shown(self, predictions: "pd.DataFrame") -> Sequence[str]:
        return [*worst_errors(predictions)["path"], *least_certain(predictions)["path"]]

    def describe(self) -> dict[str, str]:
        return {"classes": f"{len(self.class_names)}: {some_of(self.class_names)}"}

    def facts(self) -> dict[str, Any]:
        return {"classes": len(self.class_names)}

    def arguments(self) -> dict[str, Any]:
        return {"class_counts": self.class_counts}

    def to_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("class_names", "class_counts", "temperature")}

    @classmethod
    def from_dict(cls, card: Mapping[str, Any]) -> Self:
        """Make the task from model.json; old files have no temperature."""
        names, counts, temperature = card["class_names"], card["class_counts"], card.get("temperature", 1.0)
        if not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
            raise ValueError("class_names is not a list of names")
        if not (isinstance(counts, list) and [type(count) for count in counts] == [int] * len(names)):
            raise ValueError("class_counts is not a list of one number for each class")
        if not (isinstance(temperature, int | float) and 0 < temperature < math.inf):
            raise ValueError("temperature is not a number above 0")
        return cls(names, counts, temperature)
