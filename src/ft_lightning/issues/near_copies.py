"""Finds texts that are nearly the same by the short pieces that they have in common, without a network."""

import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from ft_lightning.issues.findings import Finding, Issue, listed
from ft_lightning.readers.sample import Sample
from ft_lightning.readers.words import spelling_of

Pair = tuple[Sample, Sample]

BUT = "but for case, spaces or Unicode form"
ALIKE = 0.8  # of the pieces of two texts, from which one is taken for a version of the other
_PIECE = 5  # characters
_READ = 1000  # characters of a text
_BANDS, _ROWS = 20, 6  # of texts that share 80 % of their pieces 99.8 % have one band of minima in common
_LONGEST = 100  # texts with the same band of minima
_FACTORS, _OFFSETS = np.random.default_rng(0).integers(1, 2**63, (2, _BANDS * _ROWS, 1), dtype=np.uint64) | np.uint64(1)


def spelled_alike(samples: Iterable[Sample], texts: Callable[[Sample], str | Sequence[str]]) -> list[Pair]:
    """Return the first sample of each spelling with each other one of it, whose bytes differ."""
    alike: dict[str, dict[str, Sample]] = defaultdict(dict)  # spelling -> digest -> the first such sample
    for sample in samples:
        alike[spelling_of(texts(sample))].setdefault(sample.digest, sample)
    return [(first, other) for first, *others in (list(group.values()) for group in alike.values()) for other in others]


def about_copies(pairs: Sequence[Pair], noun: str) -> tuple[list[Finding], list[Issue]]:
    """Report samples that are copies of others but for their spelling."""
    what = f"{noun} is a copy of another {BUT}", f"{noun}s are copies of others {BUT}"
    fix = "Remove or exclude them: they count twice, and one may be in train and the other in test."
    found = listed("copy", [f"{b.name} of {a.name}" for a, b in pairs], what, fix)
    return found, [Issue(b.name, "copy", 1.0, b.label, f"{a.name} {BUT}") for a, b in pairs]


class Traces(NamedTuple):
    """What tells a text from others, whatever its case and spaces."""

    pieces: frozenset[str]
    bands: tuple[bytes, ...]  # minima of hashes of the pieces, several together, and what stands beside the text


def traces_of(text: str, beside: str = "") -> Traces:
    """Return the pieces of five characters of a text, and by what texts with nearly the same ones are found.

    Only texts are found that have the same text `beside` them, such as an answer, whatever its case and spaces.
    Texts share a minimum with the probability of their likeness (MinHash; Broder, "On the Resemblance and Containment
    of Documents", 1997).
    """
    text = spelling_of(text[:_READ])
    pieces = frozenset(text[at : at + _PIECE] for at in range(max(1, len(text) - _PIECE + 1)))
    hashes = np.array([zlib.crc32(piece.encode("utf-8", "replace")) for piece in pieces], dtype=np.uint64)
    minima = ((hashes * _FACTORS + _OFFSETS) >> np.uint64(32)).min(1).astype(np.uint32).reshape(_BANDS, _ROWS)
    mark = spelling_of(beside).encode("utf-8", "replace")
    return Traces(pieces, tuple(band.tobytes() + mark for band in minima))


def likeness(one: frozenset[str], other: frozenset[str]) -> float:
    """Return the share of the pieces of two texts, or of their words, that both have (Jaccard's index)."""
    return len(one & other) / max(1, len(one | other))


def near_copies(known: Mapping[int, Traces], asked: Mapping[int, Traces]) -> list[tuple[int, int, float]]:
    """Return pairs of a known text and an asked one that are nearly the same, and how much; the likest one of each."""
    having: dict[tuple[int, bytes], list[int]] = defaultdict(list)
    for number, traces in known.items():
        for band in enumerate(traces.bands):
            having[band].append(number)
    found = []
    for number, traces in asked.items():
        some = {other for band in enumerate(traces.bands) for other in having.get(band, ())[:_LONGEST]}
        likest = max(((likeness(known[other].pieces, traces.pieces), -other) for other in some), default=(0.0, 0))
        if likest[0] >= ALIKE:
            found.append((-likest[1], number, likest[0]))
    return found
