"""Linear heads that judge samples which they were not trained on."""

from collections.abc import Callable, Sequence
from itertools import chain

import numpy as np
import torch
from torch import Tensor, nn

from ft_lightning.heads import outputs_of, solve_head

FOLDS = 5  # what has fewer samples, or groups of samples, is not judged
_STRENGTHS: tuple[float, ...] = (1e-1, 1e-2, 1e-3, 1e-4)
Folds = Sequence[tuple[np.ndarray, np.ndarray]]  # positions to train on, positions to judge


def held_out(
    inputs: Tensor, targets: Tensor, folds: Folds, make_head: Callable[[], nn.Module], loss: nn.Module
) -> Tensor:
    """Compute each sample's outputs (N, C) by a head that was not trained on it.

    The L2 strength is the one with the lowest loss on the first fold.

    Args:
        inputs: (N, D), such as features.
        targets: (N, ...).
        make_head: makes a head that does not depend on chance: inputs -> outputs (N, C).
        loss: (outputs, targets) -> scalar.
    """
    answers: list[tuple[np.ndarray, Tensor]] = []
    strengths = _STRENGTHS
    for rest, fold in folds:
        tried = []
        for l2 in strengths:
            head = make_head()
            solve_head(head, inputs[rest], targets[rest], loss, l2)
            outputs = outputs_of(head, inputs[fold])
            tried.append((loss(outputs, targets[fold]).item(), l2, outputs))
        _, best, outputs = min(tried, key=lambda one: one[0])
        strengths = (best,)
        answers.append((fold, outputs))
    order = np.concatenate([fold for fold, _ in answers])
    return torch.cat([outputs for _, outputs in answers])[torch.from_numpy(np.argsort(order))]


def linear(inputs: int, width: int) -> nn.Linear:
    """Make a linear head whose weights are 0."""
    head = nn.Linear(inputs, width)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    return head


def dealt(strata: Sequence[str], groups: Sequence[str] | None, seed: int) -> Folds:
    """Deal samples to folds, each stratum evenly, and groups whole; a group belongs to the stratum of its first sample.

    For strata of any size; scikit-learn's folds need five samples of each.
    """
    units: dict[str, list[int]] = {}
    for position, group in enumerate(groups or map(str, range(len(strata)))):
        units.setdefault(group, []).append(position)
    shuffled = np.random.default_rng(seed).permutation(len(units))
    every = list(units.values())
    order = sorted((every[i] for i in shuffled), key=lambda unit: strata[unit[0]])
    folds = [np.array(sorted(chain.from_iterable(order[start::FOLDS])), dtype=int) for start in range(FOLDS)]
    return [(np.setdiff1d(np.arange(len(strata)), fold), fold) for fold in folds if len(fold)]
