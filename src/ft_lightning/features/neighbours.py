"""Nearest neighbours in a backbone's feature space, and the kNN baseline, which needs no training."""

from typing import NamedTuple

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor

from ft_lightning.data.datasets import Indexed
from ft_lightning.data.protocol import Data

_COLUMNS = ["path", "neighbour", "label", "similarity"]
_K = 20
_SHARPNESS = 0.07
_ROWS = 4096  # of queries and of keys at once
_PAIRS = 200_000_000  # compared at most: about ten seconds on two cores


def nearest(queries: Indexed, keys: Indexed, k: int) -> tuple[Tensor, Tensor]:
    """Find each query's (M, D) k nearest keys (N, D): cosine similarities (M, k), best first, and positions (M, k).

    Reads both in parts: they may be larger than memory.
    """
    parts = [_nearest(queries[rows], keys, k) for rows in torch.arange(len(queries)).split(_ROWS)]
    similarity, found = zip(*parts, strict=True)
    return torch.cat(similarity), torch.cat(found)


def _nearest(queries: Tensor, keys: Indexed, k: int) -> tuple[Tensor, Tensor]:
    at = F.normalize(queries.float(), dim=1)
    best, found = torch.empty(len(at), 0), torch.empty(len(at), 0, dtype=torch.long)
    for rows in torch.arange(len(keys)).split(_ROWS):
        similarity = at @ F.normalize(keys[rows].float(), dim=1).T
        candidates = torch.cat([best, similarity], 1)
        positions = torch.cat([found, rows.expand(len(at), -1)], 1)
        best, order = candidates.topk(min(k, candidates.shape[1]), dim=1)
        found = positions.gather(1, order)
    return best, found


class Knn(NamedTuple):
    """What the neighbours answer."""

    score: float | None  # of the task's metric; None where features are not stored
    table: pd.DataFrame  # path, neighbour (the most similar one of train), label (the neighbour's), similarity
    positions: Tensor  # (M,) in test of the samples that were asked
    votes: Tensor  # (M, ...) outputs for these


def knn_baseline(data: Data) -> Knn:
    """Score a k-nearest-neighbour classifier on test, and find each test sample's nearest train sample.

    The 20 nearest vote, weighted by exp(similarity / 0.07) (Wu et al., "Unsupervised Feature Learning via
    Non-Parametric Instance Discrimination", CVPR 2018). A very large test split is subsampled evenly.

    Args:
        data: must serve features of train and test; otherwise the score is None and the rest empty.
    """
    train, test = data.served("train"), data.served("test")
    if train is None or test is None:
        return Knn(None, pd.DataFrame(columns=_COLUMNS), torch.empty(0, dtype=torch.long), torch.empty(0))
    asked = torch.arange(0, len(test), max(1, len(test) * len(train) // _PAIRS))
    similarity, found = nearest(test[asked], train, _K)
    votes = data.task.vote(data.targets("train")[found], ((similarity - 1) / _SHARPNESS).exp())
    score = data.task.score(votes, data.targets("test")[asked])
    samples = data.splits["test"], data.splits["train"]
    rows = [
        (samples[0][i].name, samples[1][j].name, samples[1][j].label, value)
        for i, j, value in zip(asked.tolist(), found[:, 0].tolist(), similarity[:, 0].tolist(), strict=True)
    ]
    return Knn(score, pd.DataFrame(rows, columns=_COLUMNS), asked, votes)
