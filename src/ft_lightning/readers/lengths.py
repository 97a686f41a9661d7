"""How long texts are, and how much of them a network reads: in characters, and in its tokens."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from ft_lightning.readers.sample import Inspection, Sample

_CHARACTERS = 1_000_000  # that are tokenised for a count: one to two seconds on one core
_OF_A_FILE = 1000  # characters, where a text is still in its file
_BINS = 30
_WIDE = 10  # times as long as the shortest, from which bins grow with length


def length_of(content: str | Sequence[str | tuple[str, str]]) -> int:
    """Return the characters of a text, of several that belong together, or of a conversation's messages."""
    return len(content) if isinstance(content, str) else sum(len(x if isinstance(x, str) else x[1]) for x in content)


def lengths(values: Sequence[int]) -> dict[str, Any]:
    """Describe lengths: how many texts there are, the median and the longest, and how many texts are in which range."""
    if not values:
        return {"texts": 0}
    low, high = max(1, min(values)), max(values)
    bins = np.geomspace(low, high, _BINS + 1) if high > _WIDE * low else min(_BINS, high - low + 1)
    counts, edges = np.histogram(values, bins)
    return {
        "texts": len(values),
        "median": int(np.median(values)),
        "longest": high,
        "counts": counts.tolist(),
        "edges": edges.tolist(),
    }


def counted(samples: Sequence[Sample]) -> Iterator[Sample]:
    """Yield as many samples as can be tokenised in a second or two, chosen by digest, which is as good as by chance."""
    left = _CHARACTERS
    for sample in sorted(samples, key=lambda sample: sample.digest):
        left -= _OF_A_FILE if sample.content is None else length_of(sample.content)
        yield sample
        if left < 0:
            return


def tokens(
    samples: Sequence[Sample], inspect: Callable[[Sample], Inspection], max_length: int, truncate: str
) -> dict[str, Any]:
    """Describe the lengths of texts in tokens, the share that is cut and the share of tokens that stand for anything.

    Args:
        inspect: returns tokens as width and unknown ones as height.
    """
    looks = [found for found in map(inspect, counted(samples)) if not found.error]
    widths = [found.width for found in looks]
    n = max(1, len(widths))
    return {
        **lengths(widths),
        "max_length": max_length,
        "truncate": truncate,
        "cut": sum(width > max_length for width in widths) / n,
        "unknown": sum(found.height for found in looks) / max(1, sum(widths)),
    }
