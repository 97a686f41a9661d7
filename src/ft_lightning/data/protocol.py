"""The contract of a data source: what other rooms may use of a LightningDataModule."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, Self

import pandas as pd
from torch import Tensor
from torch.utils.data import DataLoader

from ft_lightning.data.damage import Inspector
from ft_lightning.data.datasets import Indexed
from ft_lightning.data.layout import Layout
from ft_lightning.data.problems import Problem
from ft_lightning.readers.sample import Reader, Sample
from ft_lightning.tasks.task import Task


class Data(Protocol):
    """A LightningDataModule of split samples.

    Batches are `{"inputs", "target", "index"}`, and in train "weight" (B,) where samples have weights. A split served
    from rows has "features" (B, D) in place of inputs, in the same order.
    """

    task: Task  # fitted to train's labels
    splits: Mapping[str, Sequence[Sample]]  # train, val and test
    layout: Layout  # of the samples, for model.json; one that does not have it is not asked which columns it read
    reader: Reader  # of val and test: the connected one, with the data's own limits
    location: str | None  # the folder or table, for people
    num_workers: int | None  # processes that read samples; None for what suits the machine
    inspector: Inspector  # knows which samples cannot be used
    left_out: Sequence[Problem]  # unusable samples, which take no part

    def connect(self, reader: Reader, augment: Callable[[Any], Any] | None, seed: int) -> None:
        """Set how samples are read, the augmentation of train, and the seed of its order; resets `serve`."""

    def divided(self, splits: Mapping[str, Sequence[Sample]]) -> Self:
        """Return the same samples in other splits, with the task fitted to those of train; `connect` it again."""

    def serve(self, split: str, rows: Indexed, whole: bool = False) -> None:
        """Serve a split from rows (N, D), in the order of its samples: its batches have "features" from now on.

        Args:
            whole: serve all rows as a single batch, in order.
        """

    def served(self, split: str) -> Indexed | None:
        """Return the rows that `serve` has set; None where samples are read."""

    def is_augmented(self, split: str) -> bool:
        """Return whether the split's inputs differ from epoch to epoch."""

    def loader(self, split: str) -> DataLoader: ...

    def targets(self, split: str) -> Tensor:
        """Return the encoded labels (N, ...) of the split's samples."""

    def weights(self, split: str) -> Tensor | None:
        """Return how much each of the split's samples (N,) counts in training; None if all count alike."""

    def name_of(self, split: str, index: int) -> str:
        """Return the name of a sample in the dataset."""

    def split_table(self) -> pd.DataFrame:
        """Return the content of split.csv."""
