"""What every LightningDataModule of this project does: scan, split, check and serve labelled samples."""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import pandas as pd
import torch
from lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader

from ft_lightning.data.collect import divide, narrow, split_table
from ft_lightning.data.datasets import Indexed, SampleDataset, StoredDataset, check_loader, collating
from ft_lightning.data.kinds import Kind, made_by, skips, table_of
from ft_lightning.data.labels import Labels
from ft_lightning.data.layout import Layout
from ft_lightning.data.memo import Memo
from ft_lightning.data.problems import Problem
from ft_lightning.data.protocol import Data
from ft_lightning.data.samplers import SAMPLERS, BatchPositions, EpochSampler, check_sampler
from ft_lightning.data.scan import FindFiles, base_of, scan, without_special
from ft_lightning.data.split import lost, refuse_conflicting_labels, refuse_leaks
from ft_lightning.readers.sample import Reader, Sample
from ft_lightning.system.distributed import is_main_process
from ft_lightning.system.hardware import default_workers
from ft_lightning.system.kinds import Count, Share
from ft_lightning.tasks.registry import DEFAULT, task_class
from ft_lightning.tasks.task import MakeTask, Task


@dataclass(eq=False, kw_only=True)
class LabelledData(LightningDataModule):
    """Labelled samples of a source, split; a `data.protocol.Data` whose fields are keys of conf/data.

    The constructor reads and checks the dataset, so that every problem shows before time is spent; it never writes into
    the dataset. Call `connect` before asking for a loader. A subclass says what the samples are: its `kind`, its
    `table`, and the keys of its own.

    With `on_bad_<kind>=skip` the constructor looks at every sample that the memo does not know, and `left_out` lists
    the unusable ones. Otherwise `inspector` records what the first pass over the samples finds, and raises.
    """

    kind: ClassVar[Kind]

    root: str | None
    create: Callable[[], Path] | None  # makes a folder or a table if none is given
    find: FindFiles  # lists the samples
    val_fraction: Share
    test_fraction: Share
    split_seed: int
    group_by: str | None
    label: str | list[str] | None
    label_sep: str
    empty_label: str | None
    weight: str | None
    case_sensitive: bool
    allow_leak: bool
    max_bad_fraction: float
    limit: Count | None
    exclude: str | None
    batch_size: Count
    sampler: str
    num_workers: int | None
    memo: Memo | None = None  # what earlier runs know of files and samples
    task_name: str = DEFAULT.name  # what the labels mean
    make_task: MakeTask | None = None  # None: the task's own `of`

    def __post_init__(self) -> None:
        super().__init__()
        check_loader(self.batch_size, self.num_workers)
        self._skips = skips(self.kind, vars(self))
        check_sampler(self.sampler)
        root, table = self._source()
        self.left_out: Sequence[Problem] = []
        self._start: dict[str, int] | None = None
        how = (self.label, self.label_sep, self.empty_label, self.case_sensitive, self.weight)
        labels = Labels(task_class(self.task_name), *how)
        find = self.kind.source(self.find, vars(self))
        samples = without_special(scan(find, root, table, labels, self.memo, kind=self.kind.name))
        self.location = table or root or base_of(samples)
        samples, beyond = narrow(samples, self.group_by, self.limit, self.split_seed, labels.task)
        make_task = self.make_task or labels.task.of
        task, splits, excluded = divide(
            samples, make_task, self.val_fraction, self.test_fraction, self.split_seed, self.exclude
        )
        self.splits: Mapping[str, Sequence[Sample]] = splits
        self._without_split = [(sample, "data.limit") for sample in beyond]  # and why
        self._without_split += [(sample, "data.exclude") for sample in excluded]
        self.inspector = self.kind.inspector(self.splits, self.memo, vars(self))
        if self._skips:
            self._leave_out_unusable(task)
        else:
            self.inspector.refuse_known(show_progress=is_main_process())
        refuse_conflicting_labels(self.inspector.samples())
        if not self.allow_leak:
            refuse_leaks(self.inspector.samples())
        self.task = task.fit([sample.label for sample in self.splits["train"]])
        named = {key: getattr(self, key) for key in (*self.kind.columns, "label", "label_sep")}
        self.layout = Layout.of([sample for those in self.splits.values() for sample in those], **named)

    def _source(self) -> tuple[str | None, str | None]:
        """Return the folder and the table that are given, or made."""
        table = table_of(vars(self))
        return made_by(self.create) if self.create and not (self.root or table) else (self.root, table)

    def _groups(self) -> Tensor:
        """Return the group (N,) of each train sample for a sampler: its class, as a number."""
        strata = self.task.strata([sample.label for sample in self.splits["train"]])
        return torch.from_numpy(pd.factorize(pd.Series(strata))[0])

    def _hold_to_limits(self, reader: Reader) -> None:
        """Refuse or leave out the samples that are too large for what this reader makes of them."""
        if not self.kind.hold(self.inspector, reader, self._skips):
            self.inspector.refuse_known(show_progress=is_main_process())
        elif self.inspector.problems():
            self._leave_out_unusable(self.task)
            self.task = self.task.fit([sample.label for sample in self.splits["train"]])

    def _leave_out_unusable(self, task: Task) -> None:
        self._without_split += self.inspector.leave_out(
            self.max_bad_fraction, lambda splits: lost(task, splits), show_progress=is_main_process()
        )
        self.splits, self.left_out = self.inspector.splits, self.inspector.left_out

    def connect(self, reader: Reader, augment: Callable[[Any], Any] | None, seed: int) -> None:
        """Set how samples are read, the augmentation of train, and the seed of its order."""
        self.kind.refuse_other(reader)
        plain = reader.adapted(vars(self))
        self._hold_to_limits(plain)
        self.reader: Reader = plain
        self._readers = {"train": plain.augmented(augment), "val": plain, "test": plain}
        self._seed = seed
        self._served: dict[str, tuple[Indexed, bool]] = {}  # rows, and whether they are a single batch
        self._read_lengths: dict[str, Tensor | None] = {}

    def divided(self, splits: Mapping[str, Sequence[Sample]]) -> Self:
        other = copy.copy(self)
        other.splits, other.task = splits, self.task.fit([sample.label for sample in splits["train"]])
        return other

    def serve(self, split: str, rows: Indexed, whole: bool = False) -> None:
        self._served[split] = (rows, whole)

    def served(self, split: str) -> Indexed | None:
        return self._served.get(split, (None, False))[0]

    def is_augmented(self, split: str) -> bool:
        return self._readers[split] != self.reader

    def setup(self, stage: str) -> None:
        self._start = None  # Lightning loads a checkpoint after this

    def state_dict(self) -> dict[str, int]:
        """Return the position of the run: the next epoch, and the next batch of each process."""
        loop: Any = self.trainer.fit_loop  # type: ignore[union-attr]
        epochs = loop.epoch_progress.current
        ended = epochs.processed > epochs.completed  # true while Lightning runs the hooks at an epoch's end
        return {"epoch": epochs.processed, "batches": 0 if ended else loop.epoch_loop.batch_progress.current.processed}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Set the position at which the next train loader starts."""
        self._start = state_dict

    def name_of(self, split: str, index: int) -> str:
        return self.splits[split][index].name

    def split_table(self) -> pd.DataFrame:
        return split_table(self.splits, self._without_split, bool(self.weight)).sort_values("path")

    def targets(self, split: str) -> Tensor:
        return self.task.encode([sample.label for sample in self.splits[split]])

    def weights(self, split: str) -> Tensor | None:
        return torch.tensor([sample.weight for sample in self.splits[split]]) if self.weight else None

    def _lengths(self, split: str) -> Tensor | None:
        """Return how long each sample (N,) of a split is, where batches should hold samples of like length."""
        if split not in self._read_lengths:
            found = self.reader.lengths(self.splits[split]) if self.reader.alike else None
            self._read_lengths[split] = None if found is None else torch.tensor(found)
        return self._read_lengths[split]

    def train_dataloader(self) -> DataLoader:
        return self.loader("train")

    def val_dataloader(self) -> DataLoader:
        return self.loader("val")

    def test_dataloader(self) -> DataLoader:
        return self.loader("test")

    def loader(self, split: str) -> DataLoader:
        """Return the loader of train, val or test for this process of the run."""
        samples, train = self.splits[split], split == "train"
        rows, whole = self._served.get(split, (None, False))
        batch_size = len(samples) if whole else self.batch_size
        shared = (self.trainer.global_rank, self.trainer.world_size) if self.trainer and not whole else (0, 1)
        shuffled = train and not whole
        groups = self._groups() if shuffled and self.sampler != "shuffle" else None
        seed = self._seed if shuffled else None
        lengths = self._lengths(split) if rows is None else None
        order = SAMPLERS[self.sampler]
        sampler = EpochSampler(len(samples), seed, *shared, order, groups, lengths, batch_size)
        if train and self._start:  # must be set now: Lightning makes the iterator before it sets the epoch
            sampler.start_at(self._start["epoch"], self._start["batches"] * batch_size)
        # BatchNorm cannot train on a last batch of one sample: drop it; the next epoch has another order.
        drop_last = train and len(sampler) % batch_size == 1 < len(sampler)
        generator = torch.Generator().manual_seed(self._seed)  # without it an iterator draws from the global generator
        pinned = torch.cuda.is_available()
        weights = self.weights(split) if train else None
        if rows is not None:
            batches = BatchPositions(sampler, batch_size, drop_last)
            stored = StoredDataset(rows, self.targets(split), weights)
            return DataLoader(stored, batch_size=None, sampler=batches, generator=generator, pin_memory=pinned)
        workers = default_workers() if self.num_workers is None else self.num_workers
        return DataLoader(
            SampleDataset(samples, self.targets(split), self._readers[split], self._seed, weights),
            batch_size=batch_size,
            sampler=sampler,
            drop_last=drop_last,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=pinned,
            generator=generator,
            collate_fn=collating(self._readers[split]),
        )


_: type[Data] = LabelledData  # has the type checker compare the two
