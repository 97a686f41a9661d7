"""What may be wrong with texts, whatever their labels."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from ft_lightning.issues.findings import Finding
from ft_lightning.readers.sample import Inspection, Reader, Sample
from ft_lightning.readers.words import words_of

if TYPE_CHECKING:
    from torch import Tensor

_SHARED = 0.8  # of the words of two texts, from which one is taken for a version of the other


def about(samples: Iterable[Sample], inspections: Mapping[str, Inspection]) -> list[Finding]:
    return []


def near_duplicates(
    samples: Sequence[Sample], splits: Sequence[str], features: "Tensor", reader: Reader
) -> list[tuple[int, int, float]]:
    """Find texts of val or test that an earlier split has too, with other case, spaces or a few other words.

    Features select the candidates; the share of words that two texts have in common decides (Jaccard's index).
    """
    from ft_lightning.issues import suspects  # here, because a look at files needs neither torch nor scikit-learn

    words = [frozenset(words_of(sample.content)) for sample in samples]
    pairs = [(a, b, _in_common(words[a], words[b])) for a, b in suspects.lookalikes(features, splits)]
    return sorted((pair for pair in pairs if pair[2] >= _SHARED), key=lambda pair: -pair[2])


def _in_common(one: frozenset[str], other: frozenset[str]) -> float:
    return len(one & other) / max(1, len(one | other))
