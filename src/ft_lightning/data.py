"""The LightningDataModule: a scanned and split dataset, read with exactly the preprocessing the weights expect."""

import hashlib
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from lightning import LightningDataModule
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from ft_lightning.errors import UserError
from ft_lightning.images import ImageError, read_image
from ft_lightning.scan import Sample, class_map, refuse_conflicting_labels, scan, some
from ft_lightning.split import by_hash, split_samples

Transform = Callable[[Image.Image], Tensor]  # RGB image -> uint8 pixels (3, H, W)


@dataclass(eq=False)
class ImageFolderDataModule(LightningDataModule):
    """Labelled images from a folder or a CSV; the fields are the keys of conf/data, and the run's seed.

    Making one reads and checks the dataset, so that every problem shows before time is spent; nothing is ever written
    into it. `set_transforms` has to be called before loaders are asked for.

    Batches are `{"inputs": uint8 (B, 3, H, W), "target": (B,), "index": (B,)}`.

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
    limit: int | None
    batch_size: int
    num_workers: int | None
    seed: int

    def __post_init__(self) -> None:
        super().__init__()
        check_loader(self.batch_size, self.num_workers)
        root = self.root if self.root or self.csv or not self.create else str(self.create())
        self.location = self.csv or root
        samples = scan(root, self.csv, self.case_sensitive)
        refuse_conflicting_labels(samples)
        if self.group_by:
            samples = _grouped(samples, self.group_by)
        self.limited: list[Sample] = []
        if self.limit is not None:
            if self.limit < 3:
                raise UserError(f"data.limit={self.limit}: each class needs 3 at least, for train, val and test.")
            samples, self.limited = _limited(samples, self.limit, self.split_seed)
        self.class_names = class_map(samples)
        self.splits = split_samples(samples, self.val_fraction, self.test_fraction, self.split_seed, self.allow_leak)
        counts = Counter(sample.label for sample in self.splits["train"])
        self.class_counts = [counts[name] for name in self.class_names]
        if missing := [name for name in self.class_names if not counts[name]]:
            raise UserError(
                f"train has no sample of {some(missing)}: groups are kept whole; use another data.split_seed."
            )

    def set_transforms(self, preprocess: Transform, augmentation: Transform) -> None:
        """How images of val and test, and how those of train, become pixels."""
        self.transforms = {"train": augmentation, "val": preprocess, "test": preprocess}

    def split_table(self) -> pd.DataFrame:
        """Where every sample went: path, class, split, digest, and why one was left out."""
        rows = [(sample, split, "") for split, samples in self.splits.items() for sample in samples]
        rows += [(sample, "", "data.limit") for sample in self.limited]
        return pd.DataFrame(
            [(sample.name, sample.label, split, sample.digest, why) for sample, split, why in rows],
            columns=["path", "class", "split", "digest", "excluded"],
        ).sort_values("path")

    def train_dataloader(self) -> DataLoader:
        return self.loader("train")

    def val_dataloader(self) -> DataLoader:
        return self.loader("val")

    def test_dataloader(self) -> DataLoader:
        return self.loader("test")

    def loader(self, split: str) -> DataLoader:
        """Batches of train, val or test for this process of the run."""
        dataset = SampleDataset(
            self.splits[split], self.class_names, self.transforms[split], self.max_pixels, self.seed
        )
        trainer = self.trainer
        sampler = EpochSampler(
            len(dataset),
            shuffle_seed=self.seed if split == "train" else None,
            rank=trainer.global_rank if trainer else 0,
            world_size=trainer.world_size if trainer else 1,
        )
        if split == "train" and trainer:
            sampler.set_epoch(trainer.current_epoch)
        workers = default_workers() if self.num_workers is None else self.num_workers
        return DataLoader(
            dataset,
            batch_size=self.batch_size,
            sampler=sampler,
            # A last batch of one sample, which BatchNorm cannot train on, is left out: the next epoch orders anew.
            drop_last=split == "train" and len(sampler) % self.batch_size == 1 < len(sampler),
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=torch.cuda.is_available(),
            generator=torch.Generator().manual_seed(self.seed),  # or making an iterator would draw from the global one
        )


class SampleDataset(Dataset):
    """Samples by (epoch, position): the random numbers of an augmentation depend on seed, epoch and sample alone."""

    def __init__(
        self, samples: list[Sample], class_names: list[str], transform: Transform, max_pixels: int, seed: int
    ) -> None:
        self.samples = samples
        self.targets = {name: index for index, name in enumerate(class_names)}
        self.transform = transform
        self.max_pixels = max_pixels
        self.seed = seed

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Any]:
        epoch, position = key
        sample = self.samples[position]
        image = read_image(sample.path, self.max_pixels)
        with torch.random.fork_rng(devices=[]):
            # The CPU's generator only: torch.manual_seed would reseed a GPU's dropout too, and only without workers.
            torch.default_generator.manual_seed(_seed_of(self.seed, epoch, sample.digest))
            inputs = self.transform(image)
        return {"inputs": inputs, "target": self.targets[sample.label], "index": position}


class PathsDataset(Dataset):
    """Unlabelled files in a given order; one that cannot be read gives a blank picture and says why in `error`."""

    def __init__(self, paths: list[str], preprocess: Transform, max_pixels: int) -> None:
        self.paths = paths
        self.preprocess = preprocess
        self.max_pixels = max_pixels

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, position: int) -> dict[str, Any]:
        error = ""
        try:
            inputs = self.preprocess(read_image(self.paths[position], self.max_pixels))
        except ImageError as damaged:
            error = str(damaged)
            inputs = self.preprocess(Image.new("RGB", (32, 32)))
        return {"inputs": inputs, "index": position, "error": error}


class EpochSampler(Sampler[tuple[int, int]]):
    """(epoch, position) of one process's share of a split.

    The order is a function of (seed, epoch). Every process gets equally many samples, the last ones twice if need be;
    their position tells them apart when metrics are counted.
    """

    def __init__(self, length: int, shuffle_seed: int | None, rank: int, world_size: int) -> None:
        self.length = length
        self.shuffle_seed = shuffle_seed
        self.rank = rank
        self.world_size = world_size
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Lightning calls it before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return (self.length + self.world_size - 1) // self.world_size

    def __iter__(self) -> Iterator[tuple[int, int]]:
        if self.shuffle_seed is None:
            order = list(range(self.length))
        else:
            generator = torch.Generator().manual_seed(_seed_of(self.shuffle_seed, self.epoch, "order"))
            order = torch.randperm(self.length, generator=generator).tolist()
        for turn in range(len(self)):
            yield self.epoch, order[(turn * self.world_size + self.rank) % self.length]


def check_loader(batch_size: int, num_workers: int | None) -> None:
    """Raise UserError for values that a DataLoader cannot work with."""
    if not isinstance(batch_size, int) or batch_size < 1:
        raise UserError(f"batch_size={batch_size}: use a number from 1.")
    if num_workers is not None and (not isinstance(num_workers, int) or num_workers < 0):
        raise UserError(f"num_workers={num_workers}: use a number from 0, or null for what suits this machine.")


def default_workers() -> int:
    """Processes that read images: none where one or two cores are busy computing anyway.

    With a GPU the cores are free to read; without one, a quarter of them keeps up with the rest, which computes.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if torch.cuda.is_available():
        return min(8, cores)
    return 0 if cores <= 2 else min(8, cores // 4)


def _grouped(samples: list[Sample], pattern: str) -> list[Sample]:
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise UserError(f"data.group_by={pattern} is not a regular expression: {error}.") from None
    matches = [expression.search(sample.name) for sample in samples]
    if unmatched := [sample.name for sample, match in zip(samples, matches, strict=True) if not match]:
        raise UserError(f"data.group_by={pattern} does not match {len(unmatched)} paths, for example {unmatched[0]}.")
    groups = [match.group(match.lastindex or 0) for match in matches if match]
    return [replace(sample, group=group) for sample, group in zip(samples, groups, strict=True)]


def _limited(samples: list[Sample], limit: int, seed: int) -> tuple[list[Sample], list[Sample]]:
    """At most `limit` samples of each class and given split, and those left out."""
    taken: Counter[tuple[str, str | None]] = Counter()
    kept: list[Sample] = []
    left: list[Sample] = []
    for sample in by_hash(samples, seed):
        key = (sample.label, sample.split)
        (kept if taken[key] < limit else left).append(sample)
        taken[key] += 1
    return sorted(kept, key=lambda sample: sample.name), left


def _seed_of(seed: int, epoch: int, what: str) -> int:
    digest = hashlib.sha256(f"{seed}/{epoch}/{what}".encode()).digest()
    return int.from_bytes(digest[:8]) >> 1  # torch takes 63 bits
