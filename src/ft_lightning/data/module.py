"""The LightningDataModule: a scanned and split dataset, read with exactly the preprocessing the weights expect."""

import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from lightning import LightningDataModule
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ft_lightning.data.damage import ImageCheck, check_policy
from ft_lightning.data.datasets import PathsDataset, SampleDataset, StoredDataset, Transform, check_loader
from ft_lightning.data.exclude import without
from ft_lightning.data.memo import Memo
from ft_lightning.data.problems import DataProblemsError, Problem
from ft_lightning.data.samplers import BatchPositions, EpochSampler
from ft_lightning.data.scan import scan
from ft_lightning.data.split import (
    SPLIT_COLUMNS,
    class_map,
    grouped,
    limited,
    refuse_conflicting_labels,
    refuse_leaks,
    refuse_untrained,
    split_samples,
)
from ft_lightning.features.store import Rows
from ft_lightning.readers.sample import Sample
from ft_lightning.system.errors import some
from ft_lightning.system.hardware import default_workers

log = logging.getLogger(__name__)


@dataclass(eq=False)
class ImageFolderDataModule(LightningDataModule):
    """Labelled images from a folder or a CSV; the fields are the keys of conf/data, and the run's seed.

    Making one reads and checks the dataset, so that every problem shows before time is spent; nothing is ever written
    into it. `set_transforms` has to be called before loaders are asked for.

    Batches are `{"inputs": uint8 (B, 3, H, W), "target": (B,), "index": (B,)}`; of a split that stands in `features`
    they have "features" (B, D) instead of inputs, in the same order. With `full_batch` train is a single batch.

    With `on_bad_image=skip` every picture is decoded here, unless the memo knows it, and `left_out` is what cannot be
    used; without, that is found by whatever decodes the pictures first, which calls `refuse_problems`.

    Args:
        memo: what earlier runs know of files and pictures.

    Raises:
        UserError: the dataset cannot be used as it is; the message says why and where.
    """

    root: str | None
    csv: str | None
    create: Callable[[], Path] | None  # makes the folder when root and csv are not given
    val_fraction: float
    test_fraction: float
    split_seed: int
    group_by: str | None
    case_sensitive: bool
    allow_leak: bool
    max_pixels: int
    on_bad_image: str
    max_bad_fraction: float
    limit: int | None
    exclude: str | None
    batch_size: int
    num_workers: int | None
    seed: int
    memo: Memo | None = None

    def __post_init__(self) -> None:
        super().__init__()
        check_loader(self.batch_size, self.num_workers)
        check_policy(self.on_bad_image, self.max_bad_fraction)
        root = self.root if self.root or self.csv or not self.create else str(self.create())
        self.location = self.csv or root
        self.features: dict[str, Rows] = {}  # split -> what the feature store has of it
        self.full_batch = False
        self._start: dict[str, int] | None = None
        self.left_out: list[Problem] = []
        self._without_split: list[tuple[Sample, str]] = []  # and why
        self.check = ImageCheck(self.memo, self.max_pixels)
        self._place(scan(root, self.csv, self.case_sensitive, self.memo))
        self._settle_problems()
        samples = [sample for split in self.splits.values() for sample in split]
        sound = [sample for sample in samples if not self.check.problem(sample)]
        refuse_conflicting_labels(sound)
        if not self.allow_leak:
            refuse_leaks(sound)
        counts = Counter(sample.label for sample in self.splits["train"])
        self.class_counts = [counts[name] for name in self.class_names]

    def _place(self, samples: list[Sample]) -> None:
        """Find classes and splits of all samples, usable or not: leaving some out moves none of the others."""
        if self.group_by:
            samples = grouped(samples, self.group_by)
        if self.limit is not None:
            samples, beyond = limited(samples, self.limit, self.split_seed)
            self._without_split += [(sample, "data.limit") for sample in beyond]
        self.class_names = class_map(samples)
        self.splits = split_samples(samples, self.val_fraction, self.test_fraction, self.split_seed)
        refuse_untrained(self.class_names, self.splits)
        if self.exclude:
            self.splits, excluded = without(self.splits, self.exclude)
            self._without_split += [(sample, "data.exclude") for sample in excluded]

    def setup(self, stage: str) -> None:
        self._start = None  # a checkpoint that is taken up again comes after

    def state_dict(self) -> dict[str, int]:
        """How far a run is: the epoch and the batch of each process that come next."""
        loop: Any = self.trainer.fit_loop  # type: ignore[union-attr]
        epochs = loop.epoch_progress.current
        ended = epochs.processed > epochs.completed  # the epoch, but for what its end calls, such as this
        return {"epoch": epochs.processed, "batches": 0 if ended else loop.epoch_loop.batch_progress.current.processed}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Go on from there."""
        self._start = state_dict

    def name_of(self, split: str, position: int) -> str:
        """What the dataset calls a sample."""
        return self.splits[split][position].name

    def _settle_problems(self) -> None:
        """Refuse what is known to be unusable; with `on_bad_image=skip` find it, and leave it out."""
        samples = [sample for split in self.splits.values() for sample in split]
        skip = self.on_bad_image == "skip"
        self.check.begin(samples, decode=skip, show_progress=_is_first_process())
        if skip:
            self._leave_out(self.check.problems(self.splits), samples)
        else:
            self.refuse_problems()

    def _leave_out(self, problems: list[Problem], samples: list[Sample]) -> None:
        kept = {split: [s for s in samples if not self.check.problem(s)] for split, samples in self.splits.items()}
        said = f"{len(problems)} of {len(samples)} images cannot be used"
        if len(problems) > self.max_bad_fraction * len(samples):
            fix = "Mend or remove them, or raise data.max_bad_fraction."
            raise DataProblemsError(problems, f"{said}, more than data.max_bad_fraction={self.max_bad_fraction}:", fix)
        lost = [f"the {split} split" for split in kept if not kept[split]]
        lost += [f"the class {label} in train" for label in self._untrained_classes(kept)]
        if lost:
            raise DataProblemsError(problems, f"{said}, and nothing is left of {some(lost)}:", "Mend or replace them.")
        if problems:
            shown = some([problem.path for problem in problems])
            log.warning("%s and are left out, all in problems.json and split.csv: %s.", said, shown)
        self._without_split += [(s, self.check.problem(s)) for s in samples if self.check.problem(s)]
        self.left_out, self.splits = problems, kept

    def _untrained_classes(self, splits: dict[str, list[Sample]]) -> list[str]:
        return sorted(set(self.class_names) - {sample.label for sample in splits["train"]})

    def refuse_problems(self) -> None:
        """Raise DataProblemsError with everything that is known to be unusable in the splits, if anything is."""
        if problems := self.check.problems(self.splits):
            count = sum(map(len, self.splits.values()))
            first = "Mend or remove them, or leave them out: data.on_bad_image=skip."
            fix = first if self.on_bad_image == "error" else "They could be used a moment ago: start again."
            raise DataProblemsError(problems, f"{len(problems)} of {count} images cannot be used:", fix)

    def set_transforms(self, preprocess: Transform, augmentation: Transform) -> None:
        """How images of val and test, and how those of train, become pixels."""
        self.features.clear()  # they are those of earlier pixels
        self.transforms = {"train": augmentation, "val": preprocess, "test": preprocess}

    def is_augmented(self, split: str) -> bool:
        """Whether its pictures differ from epoch to epoch."""
        return self.transforms[split] != self.transforms["test"]

    def unaugmented(self, samples: list[Sample]) -> Dataset:
        """What the feature store computes from: `{"inputs", "index", "error"}` of each sample."""
        paths, digests = [sample.path for sample in samples], [sample.digest for sample in samples]
        return PathsDataset(paths, self.transforms["test"], self.max_pixels, digests)

    def split_table(self) -> pd.DataFrame:
        """Where every sample went: path, class, split, digest, and why one was left out."""
        rows = [(sample, split, "") for split, samples in self.splits.items() for sample in samples]
        rows += [(sample, "", why) for sample, why in self._without_split]
        return pd.DataFrame(
            [(s.name, s.label, split, "" if s.problem else s.digest, why) for s, split, why in rows],
            columns=SPLIT_COLUMNS,
        ).sort_values("path")

    def targets(self, split: str) -> Tensor:
        """(N,) index of each sample's class."""
        number = {name: i for i, name in enumerate(self.class_names)}
        return torch.tensor([number[sample.label] for sample in self.splits[split]])

    def train_dataloader(self) -> DataLoader:
        return self.loader("train")

    def val_dataloader(self) -> DataLoader:
        return self.loader("val")

    def test_dataloader(self) -> DataLoader:
        return self.loader("test")

    def loader(self, split: str) -> DataLoader:
        """Batches of train, val or test for this process of the run."""
        samples, train = self.splits[split], split == "train"
        whole = train and self.full_batch
        batch_size = len(samples) if whole else self.batch_size
        sampler = EpochSampler(
            len(samples),
            shuffle_seed=self.seed if train and not whole else None,
            rank=self.trainer.global_rank if self.trainer and not whole else 0,
            world_size=self.trainer.world_size if self.trainer and not whole else 1,
        )
        if train and self._start:  # set before Lightning makes an iterator, which it does before it sets the epoch
            sampler.start_at(self._start["epoch"], self._start["batches"] * batch_size)
        # A last batch of one sample, which BatchNorm cannot train on, is left out: the next epoch orders anew.
        drop_last = train and len(sampler) % batch_size == 1 < len(sampler)
        generator = torch.Generator().manual_seed(self.seed)  # or making an iterator would draw from the global one
        if split in self.features:
            stored = StoredDataset(self.features[split], self.targets(split))
            batches = BatchPositions(sampler, batch_size, drop_last)
            pinned = torch.cuda.is_available()
            return DataLoader(stored, batch_size=None, sampler=batches, generator=generator, pin_memory=pinned)
        workers = default_workers() if self.num_workers is None else self.num_workers
        return DataLoader(
            SampleDataset(samples, self.class_names, self.transforms[split], self.max_pixels, self.seed),
            batch_size=batch_size,
            sampler=sampler,
            drop_last=drop_last,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=torch.cuda.is_available(),
            generator=generator,
        )


def _is_first_process() -> bool:
    return getattr(rank_zero_only, "rank", 0) == 0
