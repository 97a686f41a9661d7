"""Finds probable label errors, outliers and near-duplicates from stored features."""

from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import torch
from PIL import Image
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold
from torch import Tensor, nn

from ft_lightning.features.neighbours import nearest
from ft_lightning.issues import findings
from ft_lightning.issues.findings import Finding, Issue
from ft_lightning.issues.held_out import FOLDS, held_out, linear
from ft_lightning.issues.robust import FAR
from ft_lightning.readers.sample import Sample

_NEIGHBOURS = 10
_LOOKALIKES = 10  # candidates for each image
_ALIKE = 0.4  # cosine similarity of features; a copy of a small image at half its size was at 0.51
_EDGE = 32  # pixels of the small grey images that decide
# Measured: copies at half the size and JPEG quality 60 correlated above 0.9964 and differed by less than 1.4 grey
# levels, flat ones with the lowest of both; overlapping cuts of one photograph below 0.9969, and by 2.1.
_CORRELATION, _RMS = 0.996, 1.75
_FLAT = 1.0  # grey levels of standard deviation, below which a correlation is meaningless


def label_errors(
    features: Tensor, targets: Tensor, groups: Sequence[str] | None, seed: int
) -> tuple[list[tuple[int, int, float]], int]:
    """Find samples that look like another class than their label, the most suspicious first.

    Ranks by normalized margin and estimates the number of wrong labels by confident learning (Northcutt et al.,
    "Confident Learning: Estimating Uncertainty in Dataset Labels", JAIR 2021). Both use out-of-fold probabilities of a
    linear head, which cannot have memorised a label that it has not seen.

    Args:
        features: (N, D).
        targets: (N,).
        groups: of each sample; a group is judged by heads that saw none of it.

    Returns:
        Position, likely class and score from 0 to 1 of each suspect; the estimated number of wrong labels.
    """
    from cleanlab.count import num_label_issues
    from cleanlab.rank import get_label_quality_scores

    counts = Counter(label for label, _ in set(zip(targets.tolist(), groups or range(len(targets)), strict=True)))
    judged = torch.tensor([i for i, label in enumerate(targets.tolist()) if counts[label] >= FOLDS], dtype=torch.long)
    classes, own = targets[judged].unique(return_inverse=True)
    if len(classes) < 2:
        return [], 0
    own_groups = [groups[i] for i in judged.tolist()] if groups else None
    probabilities = out_of_fold(features[judged], own, own_groups, seed)
    score = 1 - get_label_quality_scores(own.numpy(), probabilities.numpy(), method="normalized_margin")
    likely = probabilities.argmax(1)
    order = np.argsort(-score, kind="stable")
    found = [(int(judged[i]), int(classes[likely[i]]), float(score[i])) for i in order if likely[i] != own[i]]
    return found, int(num_label_issues(own.numpy(), probabilities.numpy()))


def out_of_fold(features: Tensor, targets: Tensor, groups: Sequence[str] | None, seed: int) -> Tensor:
    """Compute each sample's probabilities (N, C) by a linear head that was not trained on it.

    Args:
        targets: (N,) from 0 to C - 1, each at least `FOLDS` times.
    """
    split = (StratifiedGroupKFold if groups else StratifiedKFold)(FOLDS, shuffle=True, random_state=seed)
    folds = list(split.split(np.zeros(len(targets)), targets.numpy(), groups))
    make_head = partial(linear, features.shape[1], int(targets.max()) + 1)
    return held_out(features, targets, folds, make_head, nn.CrossEntropyLoss()).softmax(1)


def outliers(features: Tensor) -> tuple[list[int], Tensor]:
    """Find samples whose features (N, D) are far from all others, the farthest first, and score all samples (N,).

    The score is the modified z-score (median and median absolute deviation) of the logarithm of the mean cosine
    distance to the ten nearest others (as in Kuan & Mueller, "Back to the Basics: Revisiting Out-of-Distribution
    Detection Baselines", 2022).
    """
    if len(features) <= _NEIGHBOURS:
        return [], torch.zeros(len(features))
    similarity, _ = nearest(features, features, _NEIGHBOURS + 1)  # each sample is its own nearest
    distance = (1 - similarity[:, 1:].mean(1)).clamp(min=1e-6).log()
    deviation = distance - distance.median()
    score = 0.6745 * deviation / deviation.abs().median().clamp(min=1e-6)
    order = score.argsort(descending=True)
    return [int(i) for i in order if score[i] > FAR], score


def about_outliers(samples: Sequence[Sample], features: Tensor) -> tuple[list[Finding], list[Issue]]:
    """Report samples whose features (N, D) are far from all others."""
    far, scores = outliers(features)
    return findings.about_outliers([(samples[i], float(scores[i])) for i in far])


def near_duplicates(
    features: Tensor, splits: Sequence[str], read: Callable[[int], Image.Image]
) -> list[tuple[int, int, float]]:
    """Find images of val or test that an earlier split has too, in another size, quality or format.

    Features select the candidates; small grey images decide, so that lookalikes are not taken for copies.

    Args:
        features: (N, D).
        splits: of each sample.
        read: position -> its image, of which only a small grey version is kept.

    Returns:
        Position of the copy in train (or val for test), position in val or test, correlation; the closest first.
    """
    pairs = lookalikes(features, splits)
    involved = sorted({position for pair in pairs for position in pair})
    with ThreadPoolExecutor() as pool:  # Pillow releases Python's lock
        small = dict(zip(involved, pool.map(lambda position: _small(read(position)), involved), strict=True))
    alike = [(a, b, _correlation(small[a], small[b])) for a, b in pairs if _rms(small[a], small[b]) < _RMS]
    return sorted((pair for pair in alike if pair[2] > _CORRELATION), key=lambda pair: -pair[2])


def lookalikes(features: Tensor, splits: Sequence[str]) -> list[tuple[int, int]]:
    """Return candidates for near-duplicates by features (N, D): position in an earlier split, and in val or test."""
    where = np.array(splits)
    pairs: list[tuple[int, int]] = []
    for kept, tested in (("train", "val"), ("train", "test"), ("val", "test")):
        keys, queries = (np.flatnonzero(where == split) for split in (kept, tested))
        if len(keys) and len(queries):
            similarity, found = nearest(features[queries], features[keys], _LOOKALIKES)
            pairs += [(int(keys[found[i, j]]), int(queries[i])) for i, j in (similarity > _ALIKE).nonzero().tolist()]
    return pairs


def _small(image: Image.Image) -> np.ndarray:
    return np.asarray(image.convert("L").resize((_EDGE, _EDGE), Image.Resampling.HAMMING))


def _rms(one: np.ndarray, other: np.ndarray) -> float:
    """Compute the root mean square difference in grey levels."""
    return float(np.sqrt(np.square(one.astype(np.float32) - other).mean()))


def _correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Compute Pearson's correlation; 1 if an image hardly varies, where `_rms` alone decides."""
    return 1.0 if min(one.std(), other.std()) < _FLAT else float(np.corrcoef(one.ravel(), other.ravel())[0, 1])
