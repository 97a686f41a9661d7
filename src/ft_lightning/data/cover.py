"""Mends a split of samples with several labels, so that each split has each label."""

import logging
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from ft_lightning.readers.sample import Sample
from ft_lightning.system.errors import name_few, number_of

log = logging.getLogger(__name__)


def cover(
    units: list[list[Sample]],
    split_of: dict[str, str],
    names: Mapping[str, Sequence[str]],
    splits: Sequence[str],
    quiet: bool,
) -> dict[str, str]:
    """Return splits that have each of a sample's names, such as its labels, where enough units have it.

    Strata are sets of names, or the rarest name; a name may be missing in a split although many samples have it. Then a
    unit moves there from the split with the most of them, if it takes none of its names away from that split.
    """
    holders: dict[str, list[int]] = defaultdict(list)
    held = [{name for sample in unit for name in names[sample.name]} for unit in units]
    place = [split_of[unit[0].name] for unit in units]
    for number, those in enumerate(held):
        for name in those:
            holders[name].append(number)
    counts = Counter((place[number], name) for name, numbers in holders.items() for number in numbers)
    few = sorted(name for name, numbers in holders.items() if len(numbers) < len(splits))
    for name in sorted(holders, key=lambda name: (len(holders[name]), name)):
        for split in splits if name not in few else ():
            if counts[split, name]:
                continue
            movable = [n for n in holders[name] if all(counts[place[n], each] > 1 or each in few for each in held[n])]
            if not movable:
                continue
            moved = max(movable, key=lambda n: (counts[place[n], name], -n))
            for each in held[moved]:
                counts[place[moved], each] -= 1
                counts[split, each] += 1
            place[moved] = split
    if few and not quiet:
        counted = number_of(len(few), "label has", "labels have")
        kind = units[0][0].kind
        log.warning("%s too few different %ss to be tested: %s.", counted, kind, name_few(few))
    return {sample.name: split for unit, split in zip(units, place, strict=True) for sample in unit}
