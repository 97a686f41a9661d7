"""The multi-label task: each sample has any of several labels, or none."""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

from ft_lightning.system.errors import UserError, name_few, number_of, printable
from ft_lightning.tasks import label_sets
from ft_lightning.tasks.columns import probabilities_by_name, probability, some_of
from ft_lightning.tasks.decisions import exact_match, f1_micro, hamming
from ft_lightning.tasks.metric import Metric, titles
from ft_lightning.tasks.shown import worst_sets
from ft_lightning.tasks.task import Details, Outputs, Task

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from torch import Tensor

_SHOWN = 10  # labels on the terminal
_SURE = 1e3  # a logit that stays certain whatever the temperature

log = logging.getLogger(__name__)

# Functions of probabilities (N, L), targets (N, L) of 0 and 1, and answers (N, L), which are bool. Add a line for a
# metric of your own. Those without a function are computed label by label in `label_metrics`.
METRICS = (
    Metric("average_precision", None, "max", "average precision"),
    Metric("f1_macro", None, "max", "macro F1"),
    Metric("f1_micro", f1_micro, "max", "micro F1", compared=False),
    Metric("exact_match", exact_match, "max", "exact match"),
    Metric("hamming", hamming, "min", "wrong decisions", compared=False),
    Metric("auroc", None, "max", "AUROC", each_epoch=False, compared=False),
    Metric("loss", None, "min"),
)


@dataclass(frozen=True)
class MultiLabel:
    """The task of any number of labels a sample; a `tasks.task.Task`. Rows are logits (N, L), targets (N, L) 0 or 1.

    Args:
        label_names: sorted; the position of a name is its column.
        label_counts: samples of train with each, none of them 0; empty before `fit`.
        samples: of train; 0 before `fit`.
        commonest: the commonest set of labels in train.
        temperature: divides the logits; fitted on val.
        thresholds: the probability from which a sample has each label; chosen on val.
    """

    label_names: list[str]
    label_counts: list[int] = field(default_factory=list)
    samples: int = 0
    commonest: str = ""
    temperature: float = 1.0
    thresholds: list[float] = field(default_factory=list)

    name: ClassVar[str] = "multilabel"
    generates: ClassVar[bool] = False
    monitor: ClassVar[str] = "average_precision"
    directions: ClassVar[Mapping[str, str | None]] = {each.name: each.better for each in METRICS if each.each_epoch}
    headline: ClassVar[Mapping[str, str]] = titles(
        METRICS,
        *("chance_average_precision", "commonest_exact_match", "knn_average_precision", "tfidf_average_precision"),
    )
    baselines: ClassVar[Mapping[str, str]] = {
        "chance_average_precision": "Chance",
        "commonest_exact_match": "Always answering the commonest labels of train",
    }
    columns: ClassVar[Mapping[str, str]] = {each.name: each.column for each in METRICS if each.compared}
    answer: ClassVar[str | None] = "predicted"
    share_right: ClassVar[str] = "exact match"
    empty: ClassVar[str] = "none"

    @classmethod
    def of(cls, labels: Mapping[str | None, Sequence[str]], columns: Sequence[str] = ()) -> Self:
        """Make the task of train's labels; raise UserError if another split has others or there is none."""
        known = {name for split in ("train", None) for label in labels.get(split, ()) for name in cls.names_in(label)}
        if not known:
            raise UserError("No sample of train has a label: nothing to learn from.")
        for split, those in labels.items():
            if unknown := sorted({name for label in those for name in cls.names_in(label)} - known):
                raise UserError(
                    f"The {split} split has {number_of(len(unknown), 'label')} that train does not know: "
                    f"{name_few(unknown)}. Add them to train, or take them out."
                )
        if len(columns) > 1 and (unused := sorted(set(columns) - known)):
            log.warning("data.label: no sample has %s: left out.", name_few(unused))
        label_sets.suspect(sorted(known), "labels")
        return cls(sorted(known))

    @classmethod
    def read(cls, cells: str | Mapping[str, str], sep: str) -> str:
        return label_sets.read(cells, sep)

    @classmethod
    def names_in(cls, label: str) -> Sequence[str]:
        return label_sets.names_in(label)

    @classmethod
    def strata(cls, labels: Sequence[str]) -> Sequence[str]:
        return label_sets.strata(labels)

    @property
    def width(self) -> int:
        return len(self.label_names)

    def fit(self, labels: Sequence[str]) -> Self:
        counts = Counter(name for label in labels for name in self.names_in(label))
        by_name = [counts[name] for name in self.label_names]
        sets = Counter(sorted(labels))  # of equally common ones the first counts
        commonest = max(sets, key=lambda label: sets[label], default="")
        return replace(self, label_counts=by_name, samples=len(labels), commonest=commonest)

    def missing(self, labels: Sequence[str]) -> list[str]:
        gone = set(self.label_names).difference(*map(self.names_in, labels))
        return [f"the label {name}" for name in sorted(gone)]

    def encode(self, labels: Sequence[str]) -> "Tensor":
        """Return 0 or 1 for each label, (N, L) of float32."""
        import torch

        labels = [labels] if isinstance(labels, str) else labels  # a text is a sequence of texts too
        if unknown := sorted({name for label in labels for name in self.names_in(label)} - set(self.label_names)):
            known = name_few(self.label_names)
            raise UserError(
                f"{number_of(len(unknown), 'label is', 'labels are')} unknown to this model: {name_few(unknown)}. "
                f"It knows {known}."
            )
        return torch.from_numpy(label_sets.has_each(labels, self.label_names)).float()

    def rows(self, outputs: "Tensor", target: "Tensor") -> "Tensor":
        return outputs

    def sums(self, outputs: "Tensor", target: "Tensor") -> "dict[str, Tensor]":
        return {"exact_match": ((outputs > 0) == (target > 0.5)).all(1).sum().float()}  # > 0.5: batches may be mixed

    def score(self, rows: "Tensor", target: "Tensor") -> float:
        """Return the mean average precision of the labels that occur."""
        from ft_lightning.tasks.label_metrics import average_precisions, mean_of_present

        return mean_of_present(average_precisions(rows.double().numpy(), target.numpy()))

    def ordered(self, columns: Sequence[str]) -> Sequence[str]:
        label_sets.refuse_lacking(columns, self.label_names)
        return columns

    def constant(self) -> "Tensor":
        return (2 * self.encode([self.commonest])[0] - 1) * _SURE

    def vote(self, targets: "Tensor", weights: "Tensor") -> "Tensor":
        shares = (targets * weights[..., None]).sum(1) / weights.sum(1, keepdim=True)
        return shares.logit(1e-6)  # as rows are

    def metrics(self, rows: "Tensor", target: "Tensor", full: bool) -> dict[str, Any]:
        from ft_lightning.tasks.label_metrics import epoch_metrics, full_metrics

        logits = rows / self.temperature
        return full_metrics(self, logits, target) if full else epoch_metrics(self, logits, target)

    def summary(self, metrics: Mapping[str, float], n: int) -> dict[str, Any]:
        return {"average_precision": metrics["average_precision"], "exact_match": metrics["exact_match"]}

    def calibrate(self, rows: "Tensor", target: "Tensor") -> Self:
        from ft_lightning.tasks.calibration import fit_temperature_of_labels
        from ft_lightning.tasks.label_metrics import best_thresholds

        temperature = fit_temperature_of_labels(rows, target)
        probabilities = (rows.double() / temperature).sigmoid()
        return replace(self, temperature=temperature, thresholds=best_thresholds(probabilities, target))

    def pooled(self, parts: Sequence[tuple[Self, Outputs]]) -> dict[str, Any]:
        from ft_lightning.tasks.label_metrics import pooled_metrics

        return pooled_metrics(self, parts)

    def details(self, outputs: Mapping[str, Outputs]) -> Details:
        return Details({"calibration": {"temperature": self.temperature}}, {})

    def answers(self, probabilities: "Tensor") -> "Tensor":
        """Return which labels each sample has (N, L), of probabilities (N, L)."""
        return probabilities >= probabilities.new_tensor(self.thresholds or [0.5] * self.width)

    def table(self, names: Sequence[str], rows: "Tensor", labels: Sequence[str] | None = None) -> "pd.DataFrame":
        """Return one row a sample: path, label if known, predicted labels, p(label) for each label.

        With more than 100 labels only the ten most probable are listed, as label_1, p_1 ... label_10, p_10.
        """
        import pandas as pd

        probabilities = (rows.double() / self.temperature).sigmoid()
        chosen = [
            label_sets.SEP.join(name for name, has in zip(self.label_names, row, strict=True) if has)
            for row in self.answers(probabilities).tolist()
        ]
        columns = {"path": names, **({"label": labels} if labels else {}), "predicted": chosen}
        return pd.DataFrame(columns | probabilities_by_name(self.label_names, probabilities, "label"))

    def abstaining(self, below: float) -> Self:
        raise UserError(
            f"abstain_below={below}: a sample may have several labels, each with its own probability: leave it out, "
            "and look at the columns p(label)."
        )

    def deciding(self, threshold: float) -> Self:
        return replace(self, thresholds=[probability(threshold, "threshold")] * self.width)

    def tally(self, answers: "pd.DataFrame") -> dict[str, str]:
        found = Counter(name for label in answers["predicted"].dropna() for name in self.names_in(label))
        none = int((answers["predicted"] == "").sum())
        counts = [f"{printable(name)} {count:,}" for name, count in found.most_common(_SHOWN)]
        return {"predicted": ", ".join([*counts, *([f"none {none:,}"] if none else [])])}

    @classmethod
    def resampled(cls, answers: "pd.DataFrame", draws: "np.ndarray") -> "np.ndarray | None":
        from ft_lightning.tasks.label_metrics import resampled_precision

        scores = label_sets.probabilities(answers)
        if not len(scores.columns):
            return None
        truth = label_sets.has_each(answers["label"].fillna(""), scores.columns.tolist())
        return resampled_precision(scores.to_numpy(), truth, draws)

    def answers_like(self, other: Task) -> bool:
        return isinstance(other, MultiLabel) and other.label_names == self.label_names

    def shown(self, predictions: "pd.DataFrame") -> Sequence[str]:
        return list(worst_sets(predictions)["path"])

    def describe(self) -> dict[str, str]:
        each = sum(self.label_counts) / max(1, self.samples)
        return {"labels": f"{self.width}: {some_of(self.label_names)}; {each:.2f} a sample"}

    def facts(self) -> dict[str, Any]:
        return {"labels": self.width}

    def arguments(self) -> dict[str, Any]:
        return {"label_counts": self.label_counts, "samples": self.samples}

    def to_dict(self) -> dict[str, Any]:
        return {"task": {"name": self.name, **asdict(self)}}

    @classmethod
    def from_dict(cls, card: Mapping[str, Any]) -> Self:
        """Make the task from model.json."""
        about = card["task"]
        label_sets.check_card(about)
        return cls(**{each.name: about[each.name] for each in fields(cls)})
