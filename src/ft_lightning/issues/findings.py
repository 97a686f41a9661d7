"""Puts into words what is wrong or odd about a dataset; each finding says how to mend it."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

from ft_lightning.data.problems import Problem
from ft_lightning.data.split import Splits, conflicting_labels, leaked, leaks, lost
from ft_lightning.readers.sample import Sample
from ft_lightning.system.errors import name_few, number_of
from ft_lightning.tasks.task import Task

FEW = 10  # samples of a class
UNBALANCED = 10  # times as many samples in the largest class as in the smallest
MOSTLY, HARDLY = 0.9, 0.1  # shares of a trait, such as a colour mode, that tell one class from another
_VERSION = {
    "image": "in another size or quality",
    "text": "with a few other words or in another spelling",
    "conversation": "in nearly the same words",
}  # of what is nearly the same
NONE = "(none)"  # stands for the names of a label that has none


@dataclass(frozen=True, slots=True)
class Finding:
    """One problem or oddity of a dataset, with what to do about it."""

    kind: str
    said: str
    fix: str
    blocks: bool = False  # whether it must be mended before training


@dataclass(frozen=True, slots=True)
class Issue:
    """One sample that may be better left out: a row of issues.csv."""

    path: str  # the sample's name in the dataset
    kind: str
    score: float  # higher is worse; compares within a kind
    label: str
    suggestion: str


@dataclass(slots=True)
class Findings:
    """The findings and issues collected so far."""

    findings: list[Finding] = field(default_factory=list)
    issues: list[Issue] = field(default_factory=list)

    def add(self, findings: Iterable[Finding], issues: Iterable[Issue] = ()) -> None:
        self.findings += findings
        self.issues += issues

    @property
    def blocking(self) -> list[Finding]:
        return [finding for finding in self.findings if finding.blocks]


def listed(kind: str, names: Sequence[str], what: tuple[str, str], fix: str, blocks: bool = False) -> list[Finding]:
    """Return a finding that lists names; none without names.

    Args:
        what: is said of them, of one and of several.
    """
    return [Finding(kind, f"{number_of(len(names), *what)}: {name_few(names)}.", fix, blocks)] if names else []


def noun_of(samples: Iterable[Sample]) -> str:
    """Return what to call one of these samples: image, text or conversation."""
    return next((sample.kind for sample in samples), "sample")


def about_copies(samples: Iterable[Sample]) -> tuple[list[Finding], list[Issue]]:
    """Report samples with the same bytes, label and split, which count more than once."""
    first: dict[tuple[str, str, str | None], Sample] = {}
    pairs = [(first.setdefault((s.digest, s.label, s.split), s), s) for s in samples]
    copies = [(a, b) for a, b in pairs if a is not b]
    named = [f"{b.name} of {a.name}" for a, b in copies]
    fix = "Remove or exclude copies: they count twice. They stay in one split."
    issues = [Issue(b.name, "copy", 1.0, b.label, f"the same bytes as {a.name}") for a, b in copies]
    kind = noun_of(x for x, _ in copies)
    noun = "file" if kind == "image" else kind
    return listed("copy", named, (f"{noun} is a copy of another", f"{noun}s are copies of others"), fix), issues


def about_contradictions(samples: Sequence[Sample], allow_leak: bool) -> tuple[list[Finding], list[Issue]]:
    """Report the same bytes under two labels, and the same bytes or group in train and in val or test."""
    two, shared, noun = conflicting_labels(samples), leaks(samples), noun_of(samples)
    named = [f"{a.name} and {b.name}" for a, b in two]
    fix = "Keep the one that is right, and take its row out of issues.csv."
    what = f"time the same {noun} has two labels", f"times the same {noun} has two labels"
    found = listed("two labels", named, what, fix, blocks=True)
    named = [f"{a.name} and {b.name} ({what})" for a, b, what in shared]
    fix = "Exclude those in train; data.allow_leak=true if it is meant."
    what = f"{noun} of val or test is in train too", f"{noun}s of val or test are in train too"
    found += listed("leak", named, what, fix, blocks=not allow_leak)
    issues = _two_labels(samples, {one.digest for one, _ in two})
    issues += [Issue(a.name, "leak", 1.0, a.label, f"{what} as {b.name}") for a, b, what in leaked(samples)]
    return found, issues


def _two_labels(samples: Iterable[Sample], digests: Collection[str]) -> list[Issue]:
    """Return an issue for each of the files, because the right label is unknown."""
    alike: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        if sample.digest in digests:
            alike[sample.digest].append(sample)
    return [
        Issue(sample.name, "two labels", 1.0, sample.label, f"{other.label or NONE}, as {other.name}")
        for same in alike.values()
        for sample in same
        for other in [next(other for other in same if other.label != sample.label)]
    ]


def about_damage(
    problems: Sequence[Problem], samples: Sequence[Sample], may_be_skipped: bool, on_bad: str
) -> tuple[list[Finding], list[Issue]]:
    """Report samples that cannot be used.

    Args:
        on_bad: the key of conf/data that says what happens to them.
    """
    names = {sample.path: sample.name for sample in samples}
    lines = [str(problem).rstrip(".") for problem in problems]
    kind = noun_of(samples)
    skip = f", or leave them out: data.{on_bad}=skip."
    fix = "Mend, remove or exclude them" + ("." if may_be_skipped else skip)
    issues = [Issue(names[p.path], "damaged", 1.0, p.label, p.problem) for p in problems]
    said = f"of {number_of(len(samples), kind)} cannot be used"
    return listed("damaged", lines, (said, said), fix, blocks=not may_be_skipped), issues


def about_lost(task: Task, usable: Splits) -> list[Finding]:
    """Report splits and classes that have no sample left without the unusable ones."""
    gone = lost(task, usable)
    said = f"Without the samples that cannot be used nothing is left of {name_few(gone)}."
    return [Finding("nothing left", said, "Mend or replace them.", blocks=True)] if gone else []


def by_name(samples: Iterable[Sample], task: type[Task]) -> dict[str, list[Sample]]:
    """Return the samples with each of the names in labels, such as a class; those that have none as `NONE`."""
    found: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        for name in task.names_in(sample.label) or [NONE]:
            found[name].append(sample)
    return dict(sorted(found.items()))


def count_names(splits: Splits, task: type[Task]) -> dict[str, dict[str, int]]:
    """Count the samples of each split with each name."""
    return {
        split: {name: len(ones) for name, ones in by_name(samples, task).items()} for split, samples in splits.items()
    }


def about_wrong_labels(
    suspects: Sequence[tuple[Sample, str, float]], estimated: int, looks: str
) -> tuple[list[Finding], list[Issue]]:
    """Report labels that are probably wrong.

    Args:
        suspects: sample, what it looks like, score; the most suspicious first.
        estimated: number of labels that are probably wrong.
        looks: what these samples do, such as "look more like another class than like their own".
    """
    # A tenth or two of planted errors ranked behind the first `estimated`; more rows would be mostly hard samples.
    shown = suspects[: 2 * estimated]
    issues = [Issue(sample.name, "label", score, sample.label, likely) for sample, likely, score in shown]
    said = (
        f"Some {number_of(estimated, 'label is', 'labels are')} probably wrong; the {len(shown)} most suspicious "
        f"{noun_of(row[0] for row in shown)}s {looks} to heads that were not trained on them."
    )
    fix = "Look at them from the top; mend the labels, or exclude what is wrong."
    return [Finding("label", said, fix)] if estimated else [], issues


def about_near_duplicates(pairs: Sequence[tuple[Sample, Sample, float]]) -> tuple[list[Finding], list[Issue]]:
    """Report samples of train that val or test has in another version, each with that one and their likeness."""
    if not pairs:
        return [], []
    noun = noun_of(one for one, _, _ in pairs)
    said = number_of(len(pairs), f"{noun} of val or test is", f"{noun}s of val or test are")
    fix = "Exclude those in train, or keep what belongs together in one split: data.group_by."
    issues = [Issue(a.name, "near-duplicate", value, a.label, f"as {b.name}") for a, b, value in pairs]
    return [Finding("near-duplicate", f"{said} in train {_VERSION[noun]}.", fix)], issues


def about_outliers(outliers: Sequence[tuple[Sample, float]]) -> tuple[list[Finding], list[Issue]]:
    """Report samples that are unlike all others, each with its score."""
    noun = noun_of(sample for sample, _ in outliers)
    said = f"{number_of(len(outliers), f'{noun} is', f'{noun}s are')} unlike all others."
    issues = [Issue(sample.name, "outlier", score, sample.label, "") for sample, score in outliers]
    return [Finding("outlier", said, "Look at them: do they belong to the dataset?")] if outliers else [], issues
