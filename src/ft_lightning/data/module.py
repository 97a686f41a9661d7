"""The LightningDataModule: a scanned and split dataset, read with exactly the preprocessing the weights expect."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader

from ft_lightning.data.collect import divide, narrow, split_table
from ft_lightning.data.damage import Inspector, check_policy
from ft_lightning.data.datasets import Indexed, SampleDataset, StoredDataset, check_loader, collating
from ft_lightning.data.memo import Memo
from ft_lightning.data.problems import DataProblemsError, Problem
from ft_lightning.data.protocol import Data
from ft_lightning.data.samplers import SAMPLERS, BatchPositions, EpochSampler, check_sampler
from ft_lightning.data.scan import scan
from ft_lightning.data.split import lost, refuse_conflicting_labels, refuse_leaks
from ft_lightning.readers.image_reader import ImageReader, Transform
from ft_lightning.readers.sample import Reader, Sample
from ft_lightning.system.distributed import is_main_process
from ft_lightning.system.errors import UserError, some
from ft_lightning.system.hardware import default_workers
from ft_lightning.tasks.multiclass import MultiClass
from ft_lightning.tasks.task import MakeTask, Task

log = logging.getLogger(__name__)


@dataclass(eq=False)
class ImageFolderDataModule(LightningDataModule):
    """Labelled images from a folder or a CSV; a `data.protocol.Data` whose fields are the keys of conf/data.

    Making one reads and checks the dataset, so that every problem shows before time is spent; nothing is ever written
    into it. `connect` has to be called before loaders are asked for.

    Batches are `{"inputs": uint8 (B, 3, H, W), "target": (B,), "index": (B,)}`.

    With `on_bad_image=skip` every image is decoded here, unless the memo knows it, and `left_out` is what cannot be
    used; without, `inspector` learns it from whatever decodes the images first, and refuses them.
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
    sampler: str
    num_workers: int | None
    memo: Memo | None = None  # what earlier runs know of files and images
    make_task: MakeTask = MultiClass.of  # what the labels mean

    def __post_init__(self) -> None:
        super().__init__()
        check_loader(self.batch_size, self.num_workers)
        check_policy(self.on_bad_image, self.max_bad_fraction)
        check_sampler(self.sampler)
        root = self.root if self.root or self.csv or not self.create else str(self.create())
        self.location = self.csv or root
        self.left_out: Sequence[Problem] = []
        self._start: dict[str, int] | None = None
        samples, beyond = narrow(self.find_samples(root), self.group_by, self.limit, self.split_seed)
        task, splits, excluded = divide(
            samples, self.make_task, self.val_fraction, self.test_fraction, self.split_seed, self.exclude
        )
        self.splits: Mapping[str, Sequence[Sample]] = splits
        self._without_split = [(sample, "data.limit") for sample in beyond]  # and why
        self._without_split += [(sample, "data.exclude") for sample in excluded]
        fix = "Mend or remove them, or leave them out: data.on_bad_image=skip."
        self.inspector = Inspector(self.splits, self.memo, self.max_pixels, fix)
        if self.on_bad_image == "skip":
            self.inspector.decode_unknown(show_progress=is_main_process())
            self._leave_out_unusable(task)
        else:
            self.inspector.begin(show_progress=is_main_process())
        refuse_conflicting_labels(self.inspector.samples())
        if not self.allow_leak:
            refuse_leaks(self.inspector.samples())
        self.task = task.fit([sample.label for sample in self.splits["train"]])

    def find_samples(self, root: str | None) -> list[Sample]:
        """Every sample there is, with its label and, if given, split and group: what another source overrides."""
        return scan(root, self.csv, self.case_sensitive, self.memo)

    def _groups(self) -> Tensor:
        """(N,) which samples of train belong together for a sampler: their class, as a number."""
        strata = self.task.strata([sample.label for sample in self.splits["train"]])
        return torch.from_numpy(pd.factorize(pd.Series(strata))[0])

    def _leave_out_unusable(self, task: Task) -> None:
        problems, count = self.inspector.problems(), len(self.inspector.samples())
        said = f"{len(problems)} of {count} images cannot be used"
        if len(problems) > self.max_bad_fraction * count:
            fix = "Mend or remove them, or raise data.max_bad_fraction."
            raise DataProblemsError(problems, f"{said}, more than data.max_bad_fraction={self.max_bad_fraction}:", fix)
        self._without_split += self.inspector.drop_unusable()
        self.splits, self.left_out = self.inspector.splits, problems
        if gone := lost(task, self.splits):
            raise DataProblemsError(problems, f"{said}, and nothing is left of {some(gone)}:", "Mend or replace them.")
        if problems:
            shown = some([problem.path for problem in problems])
            log.warning("%s and are left out, all in problems.json and split.csv: %s.", said, shown)

    def connect(self, reader: Reader, augment: Transform | None, seed: int) -> None:
        """Read images as these weights expect them, train through `augment`, and order train by `seed`."""
        if not isinstance(reader, ImageReader):
            raise UserError("data: these are images, which model does not read: choose another model, or other data.")
        plain = reader.limited(self.max_pixels)
        train = plain if augment in (None, plain.preprocess) else replace(plain, augment=augment)
        self.reader: Reader = plain
        self._readers = {"train": train, "val": plain, "test": plain}
        self._seed = seed
        self._served: dict[str, tuple[Indexed, bool]] = {}  # and whether as a single batch

    def serve(self, split: str, rows: Indexed, whole: bool = False) -> None:
        self._served[split] = (rows, whole)

    def served(self, split: str) -> Indexed | None:
        return self._served.get(split, (None, False))[0]

    def is_augmented(self, split: str) -> bool:
        return self._readers[split] != self.reader

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

    def name_of(self, split: str, index: int) -> str:
        return self.splits[split][index].name

    def table(self) -> pd.DataFrame:
        return split_table(self.splits, self._without_split).sort_values("path")

    def targets(self, split: str) -> Tensor:
        return self.task.encode([sample.label for sample in self.splits[split]])

    def train_dataloader(self) -> DataLoader:
        return self.loader("train")

    def val_dataloader(self) -> DataLoader:
        return self.loader("val")

    def test_dataloader(self) -> DataLoader:
        return self.loader("test")

    def loader(self, split: str) -> DataLoader:
        """Batches of train, val or test for this process of the run."""
        samples, train = self.splits[split], split == "train"
        rows, whole = self._served.get(split, (None, False))
        batch_size = len(samples) if whole else self.batch_size
        shared = (self.trainer.global_rank, self.trainer.world_size) if self.trainer and not whole else (0, 1)
        shuffled = train and not whole
        groups = self._groups() if shuffled and self.sampler != "shuffle" else None
        seed = self._seed if shuffled else None
        sampler = EpochSampler(len(samples), seed, *shared, SAMPLERS[self.sampler], groups)
        if train and self._start:  # set before Lightning makes an iterator, which it does before it sets the epoch
            sampler.start_at(self._start["epoch"], self._start["batches"] * batch_size)
        # A last batch of one sample, which BatchNorm cannot train on, is left out: the next epoch orders anew.
        drop_last = train and len(sampler) % batch_size == 1 < len(sampler)
        generator = torch.Generator().manual_seed(self._seed)  # or making an iterator would draw from the global one
        pinned = torch.cuda.is_available()
        if rows is not None:
            batches = BatchPositions(sampler, batch_size, drop_last)
            stored = StoredDataset(rows, self.targets(split))
            return DataLoader(stored, batch_size=None, sampler=batches, generator=generator, pin_memory=pinned)
        workers = default_workers() if self.num_workers is None else self.num_workers
        return DataLoader(
            SampleDataset(samples, self.targets(split), self._readers[split], self._seed),
            batch_size=batch_size,
            sampler=sampler,
            drop_last=drop_last,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=pinned,
            generator=generator,
            collate_fn=collating(self._readers[split]),
        )


_: type[Data] = ImageFolderDataModule  # so that a type checker compares the two
