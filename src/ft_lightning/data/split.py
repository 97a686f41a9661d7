"""Splits samples into train, val and test: by content, stratified, the same on every machine."""

import hashlib
import logging
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

from ft_lightning.data.cover import cover
from ft_lightning.data.scan import SPLITS
from ft_lightning.readers.sample import Sample
from ft_lightning.system.errors import UserError, name_few, number_of
from ft_lightning.tasks.task import Task

log = logging.getLogger(__name__)

Splits = Mapping[str, Sequence[Sample]]


def lost(task: Task, splits: Splits) -> list[str]:
    """Name what has no sample left in these splits: a whole split, or what the task needs in train, such as a class."""
    empty = [f"the {split} split" for split, samples in splits.items() if not samples]
    if splits["train"] and not any(sample.weight for sample in splits["train"]):
        empty.append("a weight above 0 in train")
    return empty + [f"{what} in train" for what in task.missing([sample.label for sample in splits["train"]])]


def by_split(samples: Iterable[Sample]) -> defaultdict[str | None, list[Sample]]:
    """Group samples by the split that their folder or table gives; None where it gives none."""
    given: defaultdict[str | None, list[Sample]] = defaultdict(list)
    for sample in samples:
        given[sample.split].append(sample)
    return given


def conflicting_labels(samples: Iterable[Sample]) -> list[tuple[Sample, Sample]]:
    """Return pairs of samples with the same bytes and different labels."""
    first: dict[str, Sample] = {}
    pairs = [(first.setdefault(sample.digest, sample), sample) for sample in samples]
    return [(one, other) for one, other in pairs if one.label != other.label]


def refuse_conflicting_labels(samples: Iterable[Sample]) -> None:
    """Raise UserError where the same bytes have two labels: one of them must be wrong."""
    if pairs := conflicting_labels(samples):
        named = name_few([f"{one.name} and {other.name}" for one, other in pairs])
        said = f"{number_of(len(pairs), 'time')} the same {pairs[0][0].kind} has two labels"
        raise UserError(f"{said}: {named}. Keep one of each.")


def leaks(samples: Iterable[Sample]) -> list[tuple[Sample, Sample, str]]:
    """Return each leak in the given splits: sample of train, sample of val or test, and what they share."""
    given = by_split(samples)
    return [(one, other, what) for other, one, what in _matches(given["val"] + given["test"], given["train"])]


def leaked(samples: Iterable[Sample]) -> list[tuple[Sample, Sample, str]]:
    """Like `leaks`, but with each sample of train once: without these samples there is no leak."""
    given = by_split(samples)
    return _matches(given["train"], given["val"] + given["test"])


def _matches(ones: list[Sample], others: list[Sample]) -> list[tuple[Sample, Sample, str]]:
    """Return each of `ones` that is tied to one of `others`, that one, and what they share."""
    tied = {key: sample for sample in others for key in _keys(sample)}
    return [
        (sample, tied[shared[0]], f"the same {shared[0].partition(' ')[0]}")
        for sample in ones
        if (shared := [key for key in _keys(sample) if key in tied])
    ]


def refuse_leaks(samples: Iterable[Sample]) -> None:
    """Raise UserError where given splits have the same bytes, group or question in train and in val or test."""
    if found := leaks(samples):
        named = name_few([f"{one.name} and {other.name} ({shared})" for one, other, shared in found])
        raise UserError(
            f"{in_train_too(len(found), found[0][0].kind)}: {named}. Take them out of one, or set data.allow_leak=true."
        )


def in_train_too(count: int, kind: str) -> str:
    """Say that so many samples of val or test are in train too."""
    return f"{number_of(count, f'{kind} of val or test is', f'{kind}s of val or test are')} in train too"


def limited(samples: list[Sample], limit: int, seed: int, task: type[Task]) -> tuple[list[Sample], list[Sample]]:
    """Return at most `limit` samples of each stratum and given split, chosen by seed and content, and the others."""
    if limit < 3:
        raise UserError(
            f"data.limit={limit}: use 3 or more: each class, label or range of numbers is to be in train, val and test."
        )
    stratum = dict(zip(samples, task.strata([sample.label for sample in samples]), strict=True))
    taken: Counter[tuple[str, str | None]] = Counter()
    kept: list[Sample] = []
    left: list[Sample] = []
    for sample in sorted(samples, key=lambda sample: (_hash(seed, sample.digest), sample.name)):
        key = (stratum[sample], sample.split)
        (kept if taken[key] < limit else left).append(sample)
        taken[key] += 1
    return sorted(kept, key=lambda sample: sample.name), left


def split_samples(
    samples: list[Sample], val_fraction: float, test_fraction: float, split_seed: int, task: Task
) -> dict[str, list[Sample]]:
    """Split the samples without a given split inside each stratum, such as a class, by a hash of seed and content.

    So a split does not depend on names, hardly changes when files are added, and has every stratum of at least three
    different samples. Identical files and the files of a group stay together; a group belongs to its commonest stratum.
    """
    given = by_split(samples)
    shares = {name: share for name, share in (("test", test_fraction), ("val", val_fraction)) if not given[name]}
    for name, share in shares.items():
        if not 0 < share < 1:
            raise UserError(f"data.{name}_fraction={share}: give a share between 0 and 1, for example 0.2.")
    if sum(shares.values()) >= 1:
        raise UserError(
            f"data.val_fraction={val_fraction} and data.test_fraction={test_fraction} leave nothing for train."
        )
    pool = given["train"] or given[None]
    found = cut(pool, shares, split_seed, task)
    splits = {name: [] if name == "train" else given[name] for name in SPLITS}
    for sample in pool:
        splits[found[sample.name]].append(sample)
    if empty := [name for name in SPLITS if not splits[name]]:
        raise UserError(
            f"The {empty[0]} split is empty: there are too few different samples ({len(_units(samples)):,} of "
            f"{len(samples):,}; a group counts as one) of each class to split; add some."
        )
    if gone := task.missing([sample.label for sample in splits["train"]]):
        raise UserError(f"train has no sample of {name_few(gone)}: groups are kept whole; use another data.split_seed.")
    if not any(sample.weight for sample in splits["train"]):
        raise UserError("data.weight: all samples of train have the weight 0, so nothing would be trained on.")
    return splits


def cut(pool: list[Sample], shares: dict[str, float], seed: int, task: Task, quiet: bool = False) -> dict[str, str]:
    """Return sample name -> split; each share of the pool goes to its split, the rest to train.

    Args:
        quiet: do not name what has too few samples for each split.
    """
    by_stratum = units_by_stratum(pool, seed, task)
    names = {sample.name: task.names_in(sample.label) for sample in pool}
    if not any(names.values()) and all(len(units) <= len(shares) for units in by_stratum.values()):
        # Large groups of numbers, hardly more than ranges, of which none has to be in each split.
        by_stratum = units_by_stratum(pool, seed, task, whole=True)
    result: dict[str, str] = {}
    small = []
    for label, units in by_stratum.items():
        if shares and len(units) <= len(shares):
            small.append(label)
        for unit, split in zip(units, _split_names([len(unit) for unit in units], shares), strict=True):
            result |= {sample.name: split for sample in unit}
    if any(len(those) > 1 for those in names.values()):
        units = sorted((unit for those in by_stratum.values() for unit in those), key=lambda unit: unit[0].digest)
        return cover(units, result, names, [*shares, "train"], quiet)
    if small and not quiet:
        nouns = ("class has", "classes have") if any(names.values()) else ("range has", "ranges have")
        log.warning(
            "%s too few different %ss to be tested, all are in train: %s.",
            number_of(len(small), *nouns),
            pool[0].kind,
            name_few(small),
        )
    return result


def units_by_stratum(pool: list[Sample], seed: int, task: Task, whole: bool = False) -> dict[str, list[list[Sample]]]:
    """Return the sets of samples that must stay together, by their commonest stratum, in the order of their hashes.

    Args:
        whole: make one stratum of all.
    """
    strata = [""] * len(pool) if whole else task.strata([sample.label for sample in pool])
    stratum = dict(zip((sample.name for sample in pool), strata, strict=True))
    by_stratum: dict[str, list[list[Sample]]] = defaultdict(list)
    for unit in _units(pool):
        counts = Counter(stratum[sample.name] for sample in unit)
        by_stratum[min(counts, key=lambda label: (-counts[label], label))].append(unit)
    for units in by_stratum.values():
        units.sort(key=lambda unit: min(_hash(seed, s.group or s.question or s.digest) for s in unit))
    return by_stratum


def _split_names(sizes: list[int], shares: dict[str, float]) -> list[str]:
    """Assign a split to each unit, in order: at least one to each, as close to the shares as whole units allow."""
    if len(sizes) <= len(shares):
        return ["train"] * len(sizes)
    names: list[str] = []
    total, reached, boundary = sum(sizes), 0.0, 0.0
    for position, (split, share) in enumerate(shares.items()):
        boundary += share * total
        spare = len(sizes) - len(names) - (len(shares) - position)  # one for each split that follows, train too
        taken = 0
        while taken < spare and (taken == 0 or reached + sizes[len(names)] / 2 < boundary):
            reached += sizes[len(names)]
            names.append(split)
            taken += 1
    return names + ["train"] * (len(sizes) - len(names))


def _units(pool: list[Sample]) -> list[list[Sample]]:
    """Return the sets of samples that must stay together: linked, also through others, by equal keys."""
    root: dict[str, str] = {}

    def find(key: str) -> str:
        while root.setdefault(key, key) != key:
            root[key] = key = root[root[key]]
        return key

    for sample in pool:
        first, *others = _keys(sample)
        for key in others:
            root[find(key)] = find(first)
    units: dict[str, list[Sample]] = defaultdict(list)
    for sample in pool:
        units[find(_keys(sample)[0])].append(sample)
    return list(units.values())


def _keys(sample: Sample) -> list[str]:
    """Return the keys that tie a sample to others: one question must not be answered in two splits."""
    ties = ("bytes", sample.digest), ("group", sample.group), ("question", sample.question)
    return [f"{what} {key}" for what, key in ties if key is not None]


def _hash(seed: int, key: str) -> str:
    return hashlib.sha256(f"{seed}/{key}".encode()).hexdigest()
