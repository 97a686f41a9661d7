"""Finds samples whose sets of labels are probably wrong, from stored features."""

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ft_lightning.issues.held_out import FOLDS, dealt, held_out, linear
from ft_lightning.issues.suspects import label_errors

_CHANGES = 3  # suggested for one sample
_SURE = 14.0  # logits beyond say no more: a probability of one in a million


def wrong_sets(
    features: Tensor, targets: Tensor, groups: Sequence[str] | None, seed: int
) -> tuple[list[tuple[int, list[int], float]], int]:
    """Find samples with a label too many or too few, the most suspicious first.

    Ranks by cleanlab's label quality score (Thyagarajan et al., "Identifying Incorrect Annotations in Multi-Label
    Classification Data", 2022) and estimates the number of wrong samples by confident learning. Both use out-of-fold
    probabilities of each label, given the features and, in a second step, the sample's other labels: that finds a
    label too many or too few where sets of labels follow a rule. No head is asked about a sample that it was trained
    on. Measured on planted errors by benchmarks/planted.py.

    Args:
        features: (N, D).
        targets: (N, L) of 0 and 1.
        groups: of each sample; a group is judged by heads that saw none of it.

    Returns:
        Position, the columns that look wrong, the least probable first, and score from 0 to 1 of each suspect; the
        estimated number of wrong samples.
    """
    from cleanlab.multilabel_classification.filter import find_label_issues
    from cleanlab.multilabel_classification.rank import get_label_quality_scores, get_label_quality_scores_per_class

    judged = _judged(targets, groups)
    if not judged:
        return [], 0
    if len(judged) == 1:  # with and without are two classes
        errors, estimated = label_errors(features, targets[:, judged[0]].long(), groups, seed)
        return [(at, judged, score) for at, _, score in errors], estimated
    own = targets[:, judged]
    folds = dealt(_rarest(own), groups, seed)
    first = held_out(features, own, folds, partial(linear, features.shape[1], len(judged)), _Decisions())
    inputs = torch.cat([first.clamp(-_SURE, _SURE), own], 1)
    outputs = held_out(inputs, own, folds, partial(_GivenOthers, len(judged)), _Decisions())
    probabilities = outputs.double().sigmoid().numpy()
    labels = [row.nonzero()[:, 0].tolist() for row in own]
    quality = get_label_quality_scores(labels, probabilities)
    each = get_label_quality_scores_per_class(labels, probabilities)
    found = []
    for at in np.argsort(quality, kind="stable").tolist():
        least = np.argsort(each[at], kind="stable")[:_CHANGES]
        if columns := [judged[i] for i in least if each[at, i] < 0.5]:
            found.append((at, columns, float(1 - quality[at])))
    wrong = find_label_issues(labels, probabilities, filter_by="confident_learning", n_jobs=1)
    return found, int(wrong.sum())


def _judged(targets: Tensor, groups: Sequence[str] | None) -> list[int]:
    """Return the labels that each head sees with and without: those with enough samples, or groups, of both."""
    units = np.array(groups or range(len(targets)))
    having = targets.bool().numpy()
    numbers = [[len(set(units[having[:, i] == wanted])) for wanted in (True, False)] for i in range(targets.shape[1])]
    return [column for column, found in enumerate(numbers) if min(found) >= FOLDS]


def _rarest(targets: Tensor) -> list[str]:
    """Return the rarest label of each sample as its stratum, so that each head sees samples with each label."""
    counts = torch.where(targets.bool(), targets.sum(0), torch.inf)
    return [str(int(row.argmin())) if row.isfinite().any() else "" for row in counts]


class _GivenOthers(nn.Module):
    """Logits of each label, from its own logit and the other labels that the sample has; its own says nothing."""

    others: Tensor

    def __init__(self, labels: int) -> None:
        super().__init__()
        self.scale, self.bias = nn.Parameter(torch.ones(labels)), nn.Parameter(torch.zeros(labels))
        self.weight = nn.Parameter(torch.zeros(labels, labels))
        self.register_buffer("others", 1 - torch.eye(labels))

    def forward(self, inputs: Tensor) -> Tensor:
        logits, labels = inputs.chunk(2, dim=1)  # (N, L) each
        return logits * self.scale + labels @ (self.weight * self.others).T + self.bias


class _Decisions(nn.Module):
    """The mean loss of a sample, summed over its labels, so that L2 means the same for any number of labels."""

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(outputs, targets, reduction="none").sum(1).mean()
