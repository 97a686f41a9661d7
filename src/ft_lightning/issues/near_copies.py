"""Finds texts that are nearly the same by the short pieces that they have in common, without a network."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from ft_lightning.readers.words import spelling_of

ALIKE = 0.8  # of the pieces of two texts, from which one is taken for a version of the other
_PIECE = 5  # characters
_READ = 2000  # characters of a text
_LONGEST = 200  # texts that share a rare piece; with more it is no trace of a copy

Pieces = frozenset[str]


def pieces_of(text: str) -> Pieces:
    """Return the pieces of five characters that a text consists of, whatever its case and spaces."""
    text = spelling_of(text[:_READ])
    return frozenset(text[at : at + _PIECE] for at in range(max(1, len(text) - _PIECE + 1)))


def likeness(one: Pieces, other: Pieces) -> float:
    """Return the share of pieces that both texts have (Jaccard's index)."""
    return len(one & other) / len(one | other)


def near_copies(
    known: Mapping[int, Pieces], asked: Mapping[int, Pieces], at_least: float = ALIKE
) -> list[tuple[int, int, float]]:
    """Return pairs of a known text and an asked one that are nearly the same, and how much; the likest one of each.

    Two texts can be so alike only if one of the rarest pieces of the one is among the rarest of the other: only those
    are compared (prefix filtering, Chaudhuri et al., "A Primitive Operator for Similarity Joins", ICDE 2006).
    """
    counts = Counter(piece for texts in (known, asked) for pieces in texts.values() for piece in pieces)
    having: dict[str, list[int]] = defaultdict(list)
    for number, pieces in known.items():
        for piece in _rarest(pieces, counts, at_least):
            having[piece].append(number)
    found = []
    for number, pieces in asked.items():
        some = {other for piece in _rarest(pieces, counts, at_least) for other in having.get(piece, ())[:_LONGEST]}
        likest = max(((likeness(known[other], pieces), -other) for other in some), default=(0.0, 0))
        if likest[0] >= at_least:
            found.append((-likest[1], number, likest[0]))
    return found


def _rarest(pieces: Pieces, counts: Counter[str], at_least: float) -> Sequence[str]:
    needed = len(pieces) - int(at_least * len(pieces) - 1e-9)
    return sorted(pieces, key=lambda piece: (counts[piece], piece))[:needed]
