"""Finds samples whose numbers are probably wrong, from stored features."""

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from ft_lightning.issues.held_out import FOLDS, dealt, held_out, linear
from ft_lightning.issues.robust import FAR, centre_and_spread, modified_z


def wrong_numbers(
    features: Tensor, values: np.ndarray, strata: Sequence[str], groups: Sequence[str] | None, seed: int
) -> tuple[list[int], np.ndarray, np.ndarray]:
    """Find samples whose numbers are far from what a head says that has not seen them, the most suspicious first.

    The head minimises Huber's loss, so that wrong numbers hardly move it. Its out-of-fold errors are ranked as they
    are: on planted errors they found as many as cleanlab's OUTRE, and more than its bootstrapped regression (Zhou et
    al., "Detecting Errors in a Numerical Response via any Regression Model", 2023; benchmarks/planted.py).

    Args:
        features: (N, D).
        values: (N, K).
        strata: of each sample, such as the range of its value.
        groups: of each sample; a group is judged by heads that saw none of it.

    Returns:
        Position of each sample in that order; what the head says (N, K); scores (N, K), the modified z-score of its
        error: from `FAR` a value is probably wrong.
    """
    if len(set(groups or range(len(values)))) < 2 * FOLDS:
        return [], values, np.zeros(values.shape)
    centre, spread = centre_and_spread(values)
    targets = torch.from_numpy((values - centre) / spread).float()
    folds = dealt(strata, groups, seed)
    make_head = partial(linear, features.shape[1], values.shape[1])
    outputs = held_out(features, targets, folds, make_head, nn.HuberLoss())
    predicted = outputs.double().numpy() * spread + centre
    scores = np.abs(modified_z(values - predicted))
    order = np.argsort(-scores.max(1), kind="stable")
    return order.tolist(), predicted, scores


def estimated(scores: np.ndarray) -> int:
    """Return the number of samples with a score (N, K) from which a value is an outlier."""
    return int((scores.max(1, initial=0) > FAR).sum())
