"""Examines a dataset: its files and samples first, then a network's features of them."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ft_lightning.data import sources
from ft_lightning.data.collect import divide, narrow
from ft_lightning.data.exclude import excluded_names
from ft_lightning.data.kinds import Kind, kind_of, skips
from ft_lightning.data.labels import Labels
from ft_lightning.data.memo import Memo
from ft_lightning.data.problems import Problem
from ft_lightning.data.scan import FindFiles, scan, without_special
from ft_lightning.data.sources import A_FINDING
from ft_lightning.issues import findings, layout
from ft_lightning.issues.by_kind import SAMPLE_ISSUES
from ft_lightning.issues.by_task import label_issues
from ft_lightning.issues.findings import Finding, Findings, Issue
from ft_lightning.issues.label_issues import Suspects
from ft_lightning.readers.sample import Inspection, Reader, Sample
from ft_lightning.system.console import console
from ft_lightning.system.errors import UserError
from ft_lightning.tasks.task import MakeTask, Task

if TYPE_CHECKING:
    from omegaconf import DictConfig
    from torch import Tensor


class Looked(NamedTuple):
    """The samples that were examined; without splits and task if the dataset cannot be split."""

    kind: type[Task]  # of their labels
    task: Task | None
    samples: list[Sample]
    splits: dict[str, list[Sample]]  # of usable samples
    inspections: dict[str, Inspection]  # of usable ones, by digest

    def distinct(self) -> dict[Sample, str]:
        """Return each usable sample with its split, one sample for each content."""
        by_digest = {
            sample.digest: (sample, split)
            for split, samples in self.splits.items()
            for sample in samples
            if sample.digest in self.inspections
        }
        return dict(by_digest.values())


class Place(NamedTuple):
    """Where a dataset is, and how it is listed."""

    kind: Kind
    find: FindFiles
    root: str | None
    table: str | None


def look_at_files(
    data: "DictConfig",
    place: Place,
    labels: Labels,
    make_task: MakeTask,
    memo: Memo | None,
    found: Findings,
) -> Looked:
    """Add the findings on files, names and samples to `found`; unlike train, do not stop at the first problem.

    Args:
        data: the keys of conf/data.
    """
    try:
        with _said_once():
            refuse = partial(_refuse, found)
            scanned = scan(place.find, place.root, place.table, labels, memo, refuse, place.kind.name)
        samples, _ = narrow(without_special(scanned), data.group_by, data.limit, data.split_seed, labels.task)
    except UserError as error:
        _refuse(found, str(error))
        return Looked(labels.task, None, [], {}, {})
    task: Task | None = None
    splits: dict[str, list[Sample]] = {}
    try:
        fractions = data.val_fraction, data.test_fraction
        task, splits, _ = divide(samples, make_task, *fractions, data.split_seed, data.exclude)
    except UserError as error:
        _refuse(found, str(error))
    samples = _drop_excluded(samples, data.exclude, found)
    inspector = place.kind.inspector({"": samples}, memo, data)
    inspector.decode_unknown(show_progress=True)
    _add_damage(inspector.problems(), samples, place.kind, data, found)
    sound = [sample for sample in samples if not inspector.problem(sample)]
    found.add(*findings.about_contradictions(sound, data.allow_leak))
    found.add(*findings.about_copies(sound))
    if task:
        splits = {part: [s for s in those if not inspector.problem(s)] for part, those in splits.items()}
        found.add(findings.about_lost(task, splits))
        found.add(*label_issues(labels.task.name).about_labels(task, splits))
    if place.root and not place.table:
        found.add(layout.about_folder(Path(str(place.root)).expanduser(), scanned))
        found.add(layout.about_nesting(samples))
    found.add(layout.about_groups(samples, labels.task))
    _look_at_samples(place.kind, labels, sound, inspector.usable, found)
    return Looked(labels.task, task, samples, splits, inspector.usable)


def _refuse(found: Findings, message: str) -> None:
    found.add([Finding("layout", message, "", blocks=True)])


def _add_damage(
    problems: list[Problem], samples: list[Sample], kind: Kind, data: "DictConfig", found: Findings
) -> None:
    """Add what is said of unusable samples, which block unless so many may be left out."""
    skipped = skips(kind, data) and len(problems) <= data.max_bad_fraction * len(samples)
    found.add(*findings.about_damage(problems, samples, skipped, kind.on_bad))


def _drop_excluded(samples: list[Sample], exclude: str | None, found: Findings) -> list[Sample]:
    """Return the samples without those of `data.exclude`, which stay issues, so that the newest table is complete."""
    excluded = excluded_names(exclude) if exclude else set()
    carried_over = [sample for sample in samples if sample.name in excluded]
    found.add([], [Issue(s.name, "excluded", 1.0, s.label, "by data.exclude") for s in carried_over])
    return [sample for sample in samples if sample.name not in excluded]


def _look_at_samples(
    kind: Kind, labels: Labels, sound: list[Sample], usable: dict[str, Inspection], found: Findings
) -> None:
    """Add what this kind of sample has findings on: what its contents have in common, and which tell the class."""
    of_kind = SAMPLE_ISSUES[kind.name]
    of_labels = label_issues(labels.task.name)
    found.add(*of_kind.about(sound, usable))
    told = (of_labels.about_trait(sound, trait) for trait in of_kind.traits(sound, usable))
    found.add(next(filter(None, told), []))


@contextmanager
def _said_once() -> Iterator[None]:
    """Leave out warnings that follow as findings; after an error no findings follow."""
    held: list[logging.LogRecord] = []

    def hold(record: logging.LogRecord) -> bool:
        marked = A_FINDING.items() <= vars(record).items()
        held.extend([record] * marked)
        return not marked

    sources.log.addFilter(hold)
    try:
        yield
    except UserError:
        sources.log.removeFilter(hold)
        for record in held:
            sources.log.handle(record)
        raise
    finally:
        sources.log.removeFilter(hold)


def look_at_sizes(looked: Looked, reader: Reader, data: "DictConfig", found: Findings) -> dict[Sample, str]:
    """Report what a reader makes of samples, and those too large for it; return the others with their splits."""
    distinct = looked.distinct()
    why = {s: reader.size_error(*looked.inspections[s.digest][:2]) for s in distinct}
    problems = [Problem(s.path, s.label, distinct[s], error) for s, error in why.items() if error]
    kind = kind_of(data)
    _add_damage(problems, looked.samples, kind, data, found)
    told, issues = SAMPLE_ISSUES[kind.name].about_inputs(list(distinct), reader)
    found.add(told, issues)
    unread = {issue.path for issue in issues}
    return {s: split for s, split in distinct.items() if not why[s] and s.name not in unread}


def look_at_features(
    looked: Looked, distinct: dict[Sample, str], features: "Tensor", seed: int, reader: Reader, found: Findings
) -> list[tuple[str, str, float]]:
    """Add the findings on features to `found`; return near-duplicates: name, name of the other, correlation.

    Args:
        distinct: the samples to compare, with their splits.
        features: (N, D) of these samples, in order.
        reader: as these were computed with.
    """
    samples, where = list(distinct), list(distinct.values())
    groups = [sample.group or sample.digest for sample in samples] if any(s.group for s in samples) else None
    of_labels, wrong = label_issues(looked.kind.name), Suspects([], 0)
    with console.status("Looking for wrong labels"):
        if looked.task:
            wrong = of_labels.suspects(looked.task, features, [s.label for s in samples], groups, seed)
    with console.status(f"Looking for {reader.kind}s unlike all others, and for near-duplicates"):
        unlike = SAMPLE_ISSUES[reader.kind].about_outputs(samples, features)
        copies = SAMPLE_ISSUES[reader.kind].near_duplicates(samples, where, features, reader)
    pairs = [(samples[a], samples[b], value) for a, b, value in copies]
    labels = [(samples[i], looks_like, score) for i, looks_like, score in wrong.found]
    found.add(*findings.about_near_duplicates(pairs))
    found.add(*findings.about_wrong_labels(labels, wrong.estimated, of_labels.LOOKS))
    found.add(*unlike)
    return [(a.name, b.name, value) for a, b, value in pairs]
