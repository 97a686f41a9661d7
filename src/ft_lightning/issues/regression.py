"""What is said of labels that are numbers."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ft_lightning.data.split import Splits
from ft_lightning.issues.findings import FEW, Finding, Issue, listed
from ft_lightning.issues.label_issues import Suspects
from ft_lightning.issues.robust import centre_and_spread
from ft_lightning.issues.traits import Trait
from ft_lightning.readers.sample import Sample
from ft_lightning.system.errors import name_few, number_of
from ft_lightning.tasks.numbers import bin_edges, strata, values_of
from ft_lightning.tasks.regression import Regression
from ft_lightning.tasks.task import Task

if TYPE_CHECKING:
    from torch import Tensor


COUNTED, NOUN, NOUNS = "Values", "value", "values"
LOOKS = "look as if they had other values"
SCORE = (
    "label, modified z-score of the distance to what a head says that was not trained on it; value, modified z-score "
    "among all values"
)
_DISTINCT = 10  # values: as few may be classes
_SHARE = 0.5  # of all samples with the same value
_BEYOND = 10  # spreads of a gap: the tail of a log-normal target has hardly any so wide
_GAP = 0.5  # of the spread of the values, between a repeated value at their end and the next
_SCALES = 10  # of the standard deviations of two targets
_TOLD_APART = 0.95  # share of pairs of a sample of one colour mode, say, and one of another, in which the same has more
_BINS = 30


def about_labels(task: Task, splits: Splits) -> tuple[list[Finding], list[Issue]]:
    """Report values of val and test beyond train's, few or one very common value, and values far from all others."""
    every = [sample for samples in splits.values() for sample in samples]
    if not splits["train"]:
        return [], []
    where = np.repeat(list(splits), [len(samples) for samples in splits.values()])
    found: list[Finding] = []
    issues: list[Issue] = []
    for name, values in zip(_targets(task), _values(every).T, strict=True):
        found += _about_ranges(name, {split: values[where == split] for split in splits})
        found += _about_counts(name, values)
        far, rows = _about_far(name, values, every)
        found += far
        issues += rows
    return found + _about_scales(task, _values(splits["train"])), issues


def _about_scales(task: "Task", values: np.ndarray) -> list[Finding]:
    """Report targets (N, K) of scales so different that a mean over them is that of one."""
    names, spreads = _targets(task), values.std(0)
    most, least = spreads.argmax(), spreads.argmin()
    if not spreads[least] or spreads[most] < _SCALES * spreads[least]:
        return []
    said = f"{names[most]} varies {spreads[most] / spreads[least]:,.0f} times as much as {names[least]}."
    fix = f"Their mean, as val/mae has it, is nearly that of {names[most]}: monitor=val/loss weighs them alike."
    return [Finding("scales", said, fix)]


def _about_far(name: str, values: np.ndarray, samples: Sequence[Sample]) -> tuple[list[Finding], list[Issue]]:
    """Report values (N,) far from all others: beyond a gap at either end; a long tail has none so wide."""
    order = np.argsort(values, kind="stable")
    centre, spread = (float(each[0]) for each in centre_and_spread(values[:, None]))
    wide = np.flatnonzero(np.diff(values[order]) > _BEYOND * spread)
    above = order[min((i + 1 for i in wide if values[order[i]] >= centre), default=len(order)) :]
    below = order[: max((i + 1 for i in wide if values[order[i]] < centre), default=0)]
    scores = np.abs(values - centre) / spread
    far = sorted([*above.tolist(), *below.tolist()], key=lambda i: -scores[i])
    low, high = (f"{value:g}" for value in np.quantile(values, (0.25, 0.75)))
    named = [f"{values[i]:g} ({samples[i].name})" for i in far]
    end = f"far from all others, of which half are from {low} to {high}"
    fix = "If it stands for a missing one, or is a slip, mend or exclude it."
    issues = [
        Issue(samples[i].name, "value", float(scores[i]), samples[i].label, f"half are from {low} to {high}")
        for i in far
    ]
    return listed("value", named, (f"value of {name} is {end}", f"values of {name} are {end}"), fix), issues


def _about_ranges(name: str, values: Mapping[str, np.ndarray]) -> list[Finding]:
    """Report values of val and test that are beyond all of train's."""
    low, high = values["train"].min(), values["train"].max()
    found = []
    for split in ("val", "test"):
        beyond = ((values[split] < low) | (values[split] > high)).sum()
        if beyond:
            samples = number_of(len(values[split]), "sample")
            said = f"{name} is beyond train's {low:g} to {high:g} in {beyond:,} of {samples} of {split}."
            found.append(Finding("range", said, "A model hardly answers beyond what it was trained on."))
    return found


def _about_counts(name: str, values: np.ndarray) -> list[Finding]:
    """Report few distinct values, a value of more than half of the samples, and one apart at an end of all values."""
    counts = Counter(values.tolist())
    found = []
    if len(counts) <= _DISTINCT:
        shown = name_few([f"{value:g}" for value in sorted(counts)])
        said = f"{name} has {len(counts)} different values only: {shown}."
        found.append(Finding("few values", said, "If they are kinds rather than amounts: task=multiclass."))
    (value, count), *_ = counts.most_common(1)
    if count > _SHARE * len(values):
        said = f"{name} is {value:g} in {count:,} of {number_of(len(values), 'sample')}."
        fix = "If it stands for a missing value, leave those samples out: an empty cell and data.empty_label=skip."
        found.append(Finding("common value", said, fix))
    elif len(counts) > _DISTINCT:
        found += _about_ends(name, counts, float(centre_and_spread(values[:, None])[1][0]))
    return found


def _about_ends(name: str, counts: Counter[float], spread: float) -> list[Finding]:
    """Report a repeated smallest or largest value that is apart from all others, as 0 or 999 for a missing one."""
    ordered = sorted(counts)
    ends = ((ordered[0], ordered[1]), (ordered[-1], ordered[-2]))
    return [
        Finding(
            "value apart",
            f"{name} is {end:g} in {counts[end]:,} samples, and the next value is {following:g}.",
            "If it stands for a missing value, leave those samples out: an empty cell and data.empty_label=skip.",
        )
        for end, following in ends
        if counts[end] > 1 and abs(following - end) > _GAP * spread
    ]


def about_trait(samples: Sequence[Sample], trait: Trait) -> list[Finding]:
    """Report what samples are that nearly all have lower, or higher, values than the others."""
    from scipy.stats import rankdata

    seen = [sample for sample in samples if sample.digest in trait.ways]
    ways = np.array([trait.ways[sample.digest] for sample in seen])
    for way in sorted(set(ways.tolist())):
        inside = ways == way
        n, others = int(inside.sum()), int((~inside).sum())
        if min(n, others) < FEW:
            continue
        ranks = rankdata(_values(seen), axis=0)
        more = (ranks[inside].sum(0) - n * (n + 1) / 2) / (n * others)  # share of pairs, as in Mann & Whitney (1947)
        if max(more.max(), 1 - more.min()) >= _TOLD_APART:
            compared = "higher" if more.max() >= _TOLD_APART else "lower"
            return trait.finding(f"{trait.noun} that are {way} have nearly always {compared} values than the others.")
    return []


def suspects(
    task: Task, features: "Tensor", labels: Sequence[str], groups: Sequence[str] | None, seed: int
) -> Suspects:
    """Find samples that look as if they had other values; see `suspect_numbers.wrong_numbers`."""
    from ft_lightning.issues.suspect_numbers import estimated, wrong_numbers  # a look at files needs no torch

    values = values_of(labels)
    order, predicted, scores = wrong_numbers(features, values, strata(values), groups, seed)
    digits = [_digits(spread) for spread in centre_and_spread(values - predicted)[1]]
    names = _targets(task) if values.shape[1] > 1 else [""]
    found = []
    for at in order:
        wrong = [i for i, score in enumerate(scores[at]) if score >= scores[at].max()]
        said = ", ".join(f"{names[i]} about {predicted[at, i]:.{digits[i]}f}".strip() for i in wrong)
        found.append((at, said, float(scores[at].max())))
    return Suspects(found, estimated(scores))


def _digits(spread: float) -> int:
    """Return how many decimals of a number are of use, if it is off by about `spread`."""
    return max(0, -int(np.floor(np.log10(spread))))


def record(task: Task | None, splits: Splits) -> dict[str, Any]:
    """Return a histogram of each target, with the same bins for all splits."""
    targets: dict[str, dict[str, list[float]]] = {}
    values = {split: _values(samples) for split, samples in splits.items() if samples}
    for column, name in enumerate(_targets(task) if task and values else []):
        bins = bin_edges(np.concatenate([each[:, column] for each in values.values()]), _BINS)
        counts = {split: np.histogram(each[:, column], bins)[0].tolist() for split, each in values.items()}
        targets[name] = {"edges": bins.tolist(), **counts}
    return {"classes": {}, "targets": targets}


def grouped(samples: Iterable[Sample]) -> dict[str, list[Sample]]:
    """Return the samples of low, middle and high values; the first target of several counts."""
    every = list(samples)
    if not every:
        return {}
    first = _values(every)[:, 0]
    low, below, above, high = np.quantile(first, (0.1, 0.45, 0.55, 0.9))
    chosen = {"low": first <= low, "middle": (first >= below) & (first <= above), "high": first >= high}
    return {title: [s for s, taken in zip(every, those, strict=True) if taken] for title, those in chosen.items()}


def _values(samples: Sequence[Sample]) -> np.ndarray:
    return values_of([sample.label for sample in samples])


def _targets(task: Task) -> Sequence[str]:
    assert isinstance(task, Regression)
    return task.targets
