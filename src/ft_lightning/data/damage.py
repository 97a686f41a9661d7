"""Finds the samples that cannot be used, from what earlier runs know and by decoding the others."""

import logging
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from ft_lightning.data.memo import Memo
from ft_lightning.data.problems import DataProblemsError, Problem
from ft_lightning.data.split import Splits
from ft_lightning.readers.sample import Inspection, Reader, Sample
from ft_lightning.system.console import sample_progress
from ft_lightning.system.distributed import Processes
from ft_lightning.system.errors import name_few, number_of

log = logging.getLogger(__name__)

_AT_ONCE = 256  # samples between two writes to the memo

Inspect = Callable[[Sample], Inspection]


@dataclass(eq=False)
class Inspector:
    """Looks at each sample of a dataset at most once and records which cannot be used; a memo keeps the verdicts."""

    splits: Splits
    memo: Memo | None
    noun: str  # what a sample is: image or text
    inspect: Inspect
    size_error: Callable[[int, int], str]  # says why a sample of this width and height cannot be used, or nothing
    fix: str = "Mend or remove them."  # the advice in the error of `refuse`

    def __post_init__(self) -> None:
        self.left_out: list[Problem] = []  # of `leave_out`
        self.usable: dict[str, Inspection] = {}  # by digest
        self._bad: dict[str, str] = {}  # digest -> what is wrong with these bytes
        self._bad_files: dict[str, str] = {}  # name -> what is wrong with this file, for example that it has changed
        self._pending: dict[str, tuple[str, Inspection]] = {}  # path -> digest and verdict, not in the memo yet
        if self.memo:
            for digest, found in self.memo.inspections({s.digest for s in self.samples() if not s.problem}).items():
                self._take(digest, found)

    def limit(self, reader: Reader) -> None:
        """Hold sizes to the limits of a reader too, which knows what it makes of a sample."""
        self.size_error = reader.size_error
        for digest, found in list(self.usable.items()):
            self._take(digest, found)

    def note(self, found: Mapping[str, str]) -> None:
        """Record what a reader finds wrong with samples, by their digests."""
        self._bad |= found

    def samples(self) -> list[Sample]:
        return [sample for samples in self.splits.values() for sample in samples]

    def decode_unknown(self, show_progress: bool) -> None:
        """Look at all samples without a verdict."""
        while unknown := self._unknown():  # more than once where one of two equal files has changed
            self._decode(unknown, show_progress)

    def refuse_known(self, show_progress: bool) -> None:
        """Raise DataProblemsError if a problem is known already, after decoding everything to report all at once.

        Without a known problem nothing is decoded here: computing features or training decodes all samples anyway.
        """
        if any(map(self.problem, self.samples())):
            self.decode_unknown(show_progress)
        self.refuse()

    def settle(self, later: set[str], show_progress: bool, processes: Processes) -> None:
        """Decode, shared among processes, the samples that the feature pass will not; raise if any is unusable.
        Collective.

        Args:
            later: digests that the feature pass will decode; if anything is wrong, they are decoded now, so that one
                error reports all.
        """
        unknown = self._unknown()
        self._decode_share([sample for sample in unknown if sample.digest not in later], show_progress, processes)
        if self.problems():
            self._decode_share([sample for sample in unknown if sample.digest in later], show_progress, processes)
        self.refuse()

    def problem(self, sample: Sample) -> str:
        """Return what is known to be wrong with a sample; empty if nothing is."""
        return sample.problem or self._bad.get(sample.digest, "") or self._bad_files.get(sample.name, "")

    def problems(self) -> list[Problem]:
        """Return all known problems, sorted by path."""
        found = [
            Problem(sample.path, sample.label, split, problem)
            for split, samples in self.splits.items()
            for sample in samples
            if (problem := self.problem(sample))
        ]
        return sorted(found, key=lambda problem: problem.path)

    def refuse(self) -> None:
        """Raise DataProblemsError with all known problems, if there are any."""
        if problems := self.problems():
            summary = f"{len(problems):,} of {number_of(len(self.samples()), self.noun)} cannot be used:"
            raise DataProblemsError(problems, summary, self.fix)

    def leave_out(
        self, max_bad_fraction: float, lost: Callable[[Splits], list[str]], show_progress: bool
    ) -> list[tuple[Sample, str]]:
        """Decode all samples and drop the unusable ones; return these with the reason, and add them to `left_out`.

        Args:
            max_bad_fraction: raises DataProblemsError if more would be left out.
            lost: names what splits lack; raises DataProblemsError if they lack anything without the unusable samples.
        """
        self.decode_unknown(show_progress)
        problems, count = [*self.left_out, *self.problems()], len(self.samples()) + len(self.left_out)
        summary = f"{len(problems):,} of {number_of(count, self.noun)} cannot be used"
        if len(problems) > max_bad_fraction * count:
            fix = "Mend or remove them, or raise data.max_bad_fraction."
            limit = f"more than data.max_bad_fraction={max_bad_fraction}"
            raise DataProblemsError(problems, f"{summary}, {limit}:", fix)
        self.left_out, dropped = problems, self._drop_unusable()
        if problems and (gone := lost(self.splits)):
            summary += f", and nothing is left of {name_few(gone)}:"
            raise DataProblemsError(problems, summary, "Mend or replace them.")
        if problems:
            shown = name_few([problem.path for problem in problems])
            log.warning("%s and are left out, all in problems.json and split.csv: %s.", summary, shown)
        return dropped

    def _drop_unusable(self) -> list[tuple[Sample, str]]:
        dropped = [(sample, problem) for sample in self.samples() if (problem := self.problem(sample))]
        self.splits = {split: [s for s in those if not self.problem(s)] for split, those in self.splits.items()}
        self.fix = "They could be used a moment ago: start again."
        return dropped

    def record(self, samples: Sequence[Sample], inspections: Iterable[Inspection]) -> None:
        """Record what a full decode of each sample found."""
        for sample, found in zip(samples, inspections, strict=True):
            self._pending[sample.path] = (sample.digest, found)
            if found.error and not found.lasting:
                self._bad_files[sample.name] = found.error
            else:
                self._take(sample.digest, found)
        if len(self._pending) >= _AT_ONCE:
            self.flush()

    def record_batch(self, samples: Sequence[Sample], batch: Mapping[str, Any]) -> None:
        """Record the inspections of a batch of `datasets.InspectedDataset`."""
        columns = (column.tolist() if hasattr(column, "tolist") else column for column in batch["inspection"])
        self.record(samples, [Inspection(*values) for values in zip(*columns, strict=True)])

    def flush(self) -> None:
        """Write what was recorded to the memo."""
        if self.memo:
            self.memo.remember_inspections(dict(self._pending.values()))
            # Otherwise a file that the memo takes for another one would never be read again.
            self.memo.forget_files([path for path, (_, found) in self._pending.items() if found.error])
        self._pending.clear()

    def share(self, processes: Processes) -> None:
        """Exchange the known problems among all processes. Collective."""
        for bad, bad_files in processes.gather((self._bad, self._bad_files)):
            self._bad |= bad
            self._bad_files |= bad_files

    def _unknown(self) -> list[Sample]:
        """Return the samples still to decode, one for each content."""
        distinct: dict[str, Sample] = {}
        for sample in self.samples():
            if sample.digest not in self.usable and not self.problem(sample):
                distinct.setdefault(sample.digest, sample)
        return list(distinct.values())

    def _decode_share(self, samples: Sequence[Sample], show_progress: bool, processes: Processes) -> None:
        # By digest, because the list of unknown samples may differ between processes.
        mine = [sample for sample in samples if int(sample.digest[:8], 16) % processes.size == processes.rank]
        self._decode(mine, show_progress)
        self.share(processes)

    def _decode(self, samples: Sequence[Sample], show_progress: bool) -> None:
        """Decode on all cores in threads: Pillow releases Python's lock."""
        if not samples:
            return
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        with ThreadPoolExecutor(cores) as pool, sample_progress(show_progress) as progress:
            bar = progress.add_task(f"Checking {self.noun}s", total=len(samples))
            for start in range(0, len(samples), _AT_ONCE):
                part = samples[start : start + _AT_ONCE]
                self.record(part, list(pool.map(self.inspect, part)))
                progress.advance(bar, len(part))
        self.flush()

    def _take(self, digest: str, found: Inspection) -> None:
        if error := found.error or self.size_error(found.width, found.height):
            self._bad[digest] = error
            self.usable.pop(digest, None)
        else:
            self.usable[digest] = found
