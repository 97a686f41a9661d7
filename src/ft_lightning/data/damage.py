"""Which pictures of a dataset cannot be used: from what is known already, and by decoding the others."""

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ft_lightning.data.memo import Memo
from ft_lightning.data.problems import Problem
from ft_lightning.readers.images import Look, look_at, size_error
from ft_lightning.readers.sample import Sample
from ft_lightning.system.console import sample_progress
from ft_lightning.system.errors import UserError

ON_BAD_IMAGE = ("error", "skip")
_AT_ONCE = 256  # pictures between two writes to the memo


def check_policy(on_bad_image: str, max_bad_fraction: object) -> None:
    """Raise UserError where it is not said properly what becomes of pictures that cannot be used."""
    if on_bad_image not in ON_BAD_IMAGE:
        raise UserError(f"data.on_bad_image={on_bad_image}: use one of {', '.join(ON_BAD_IMAGE)}.")
    if not isinstance(max_bad_fraction, int | float) or not 0 <= max_bad_fraction <= 1:
        raise UserError(f"data.max_bad_fraction={max_bad_fraction}: use a share from 0 to 1, such as 0.05.")


class ImageCheck:
    """What this process knows about pictures; a memo knows what earlier ones found.

    Args:
        max_pixels: as in `images.read_image`.
    """

    def __init__(self, memo: Memo | None, max_pixels: int) -> None:
        self.memo = memo
        self.max_pixels = max_pixels
        self.looks: dict[str, Look] = {}  # digest -> what its picture is like, of those that can be used
        self._bad: dict[str, str] = {}  # digest -> what is wrong with these bytes
        self._bad_files: dict[str, str] = {}  # name -> what is wrong with this file, such as that it has changed
        self._pending: dict[str, tuple[str, Look]] = {}  # path -> digest and look, not in the memo yet

    def begin(self, samples: Sequence[Sample], decode: bool, show_progress: bool) -> None:
        """Recall what the memo knows; where that is a problem, or with `decode` anyway, decode all that is unknown.

        So pictures that something else decodes anyway are decoded once, and yet all problems are told together.
        """
        if self.memo:
            for digest, look in self.memo.looks(list({s.digest for s in samples if not s.problem})).items():
                self._take(digest, look)
        if decode or any(map(self.problem, samples)):
            while unknown := self.unknown(samples):  # more than once where one of two equal files has changed
                self.look(unknown, show_progress)

    def problem(self, sample: Sample) -> str:
        """What is known to be wrong with it; empty if nothing is."""
        return sample.problem or self._bad.get(sample.digest, "") or self._bad_files.get(sample.name, "")

    def unknown(self, samples: Iterable[Sample]) -> list[Sample]:
        """Those that still have to be decoded, one for each content."""
        distinct: dict[str, Sample] = {}
        for sample in samples:
            if sample.digest not in self.looks and not self.problem(sample):
                distinct.setdefault(sample.digest, sample)
        return list(distinct.values())

    def look(self, samples: Sequence[Sample], show_progress: bool) -> None:
        """Decode them, as fast as all cores together can (Pillow lets go of Python's lock)."""
        if not samples:
            return
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        with ThreadPoolExecutor(cores) as pool, sample_progress(show_progress) as progress:
            bar = progress.add_task("Checking images", total=len(samples))
            for start in range(0, len(samples), _AT_ONCE):
                some = samples[start : start + _AT_ONCE]
                self.learn(some, list(pool.map(self._decode, some)))
                progress.advance(bar, len(some))
        self.flush()

    def learn(self, samples: Sequence[Sample], looks: Sequence[Look]) -> None:
        """Take what a full decode found in each of them."""
        for sample, look in zip(samples, looks, strict=True):
            self._pending[sample.path] = (sample.digest, look)
            if look.error and not look.lasting:
                self._bad_files[sample.name] = look.error
            else:
                self._take(sample.digest, look)
        if len(self._pending) >= _AT_ONCE:
            self.flush()

    def learn_batch(self, samples: Sequence[Sample], batch: dict[str, Any]) -> None:
        """The same of a batch of `datasets.PathsDataset`."""
        columns = (column.tolist() if hasattr(column, "tolist") else column for column in batch["look"])
        self.learn(samples, [Look(*values) for values in zip(*columns, strict=True)])

    def flush(self) -> None:
        """Tell the memo what was learned."""
        if self.memo:
            self.memo.remember_looks(dict(self._pending.values()))
            # A file that is not what the memo takes it for would otherwise never be looked at again.
            self.memo.forget_files([path for path, (_, look) in self._pending.items() if look.error])
        self._pending.clear()

    def problems(self, splits: dict[str, list[Sample]]) -> list[Problem]:
        """Everything that is known to be wrong with the samples of each split, by path."""
        found = [
            Problem(sample.path, sample.label, split, problem)
            for split, samples in splits.items()
            for sample in samples
            if (problem := self.problem(sample))
        ]
        return sorted(found, key=lambda problem: problem.path)

    def share(self, gather: Callable[[Any], list[Any]]) -> None:
        """Learn what is wrong from all processes.

        Args:
            gather: an object of this process -> those of all.
        """
        for bad, bad_files in gather((self._bad, self._bad_files)):
            self._bad |= bad
            self._bad_files |= bad_files

    def _decode(self, sample: Sample) -> Look:
        return look_at(sample.path, self.max_pixels, sample.digest)[1]

    def _take(self, digest: str, look: Look) -> None:
        if error := look.error or size_error(look.width, look.height, self.max_pixels):
            self._bad[digest] = error
        else:
            self.looks[digest] = look
