"""The LightningDataModule: a scanned and split dataset, read with exactly the preprocessing the weights expect."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ft_lightning.datasets import (
    BatchPositions,
    EpochSampler,
    PathsDataset,
    SampleDataset,
    StoredDataset,
    Transform,
    check_loader,
    default_workers,
)
from ft_lightning.errors import UserError
from ft_lightning.scan import Sample, scan, some
from ft_lightning.split import class_map, grouped, limited, refuse_conflicting_labels, split_samples
from ft_lightning.store import Rows


@dataclass(eq=False)
class ImageFolderDataModule(LightningDataModule):
    """Labelled images from a folder or a CSV; the fields are the keys of conf/data, and the run's seed.

    Making one reads and checks the dataset, so that every problem shows before time is spent; nothing is ever written
    into it. `set_transforms` has to be called before loaders are asked for.

    Batches are `{"inputs": uint8 (B, 3, H, W), "target": (B,), "index": (B,)}`; of a split that stands in `features`
    they have "features" (B, D) instead of inputs, in the same order. With `full_batch` train is a single batch.

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
        self.features: dict[str, Rows] = {}  # split -> what the feature store has of it
        self.full_batch = False
        self._start: dict[str, int] | None = None
        samples = scan(root, self.csv, self.case_sensitive)
        refuse_conflicting_labels(samples)
        if self.group_by:
            samples = grouped(samples, self.group_by)
        self.limited: list[Sample] = []
        if self.limit is not None:
            samples, self.limited = limited(samples, self.limit, self.split_seed)
        self.class_names = class_map(samples)
        self.splits = split_samples(samples, self.val_fraction, self.test_fraction, self.split_seed, self.allow_leak)
        counts = Counter(sample.label for sample in self.splits["train"])
        self.class_counts = [counts[name] for name in self.class_names]
        if missing := [name for name in self.class_names if not counts[name]]:
            raise UserError(
                f"train has no sample of {some(missing)}: groups are kept whole; use another data.split_seed."
            )

    def setup(self, stage: str) -> None:
        self._start = None  # a checkpoint that is taken up again comes after

    def state_dict(self) -> dict[str, int]:
        """How far a run is: the epoch and the batch of each process that come next."""
        trainer: Any = self.trainer
        epoch, batches = trainer.current_epoch, trainer.fit_loop.epoch_loop.batch_progress.current.processed
        if batches >= trainer.num_training_batches:
            epoch, batches = epoch + 1, 0
        return {"epoch": epoch, "batches": batches, "processes": trainer.world_size}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Go on from there.

        Raises:
            UserError: the checkpoint lies within an epoch that other processes share now.
        """
        self._start = state_dict
        if state_dict["batches"] and self.trainer and state_dict["processes"] != self.trainer.world_size:
            raise UserError(
                f"trainer.devices: the run stopped within an epoch of {state_dict['processes']} processes, and "
                f"{self.trainer.world_size} would share the rest of it otherwise: use as many as before."
            )

    def name_of(self, split: str, position: int) -> str:
        """What the dataset calls a sample."""
        return self.splits[split][position].name

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
        rows += [(sample, "", "data.limit") for sample in self.limited]
        return pd.DataFrame(
            [(sample.name, sample.label, split, sample.digest, why) for sample, split, why in rows],
            columns=["path", "class", "split", "digest", "excluded"],
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
