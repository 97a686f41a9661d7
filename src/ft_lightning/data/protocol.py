"""The contract of a data source: all that the rest may ask of a LightningDataModule."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import pandas as pd
from torch import Tensor
from torch.utils.data import DataLoader

from ft_lightning.data.damage import Inspector
from ft_lightning.data.datasets import Indexed
from ft_lightning.data.problems import Problem
from ft_lightning.readers.sample import Reader, Sample
from ft_lightning.tasks.task import Task


class Data(Protocol):
    """Samples, split and loaded; a LightningDataModule too.

    Batches are `{"inputs", "target", "index"}`; of a split that is served from rows, "features" (B, D) in place of
    inputs, in the same order.
    """

    task: Task  # as train's labels make it
    splits: Mapping[str, Sequence[Sample]]  # train, val and test
    reader: Reader  # of val and test: as connected, within the data's own limits
    location: str | None  # as a person would name it
    num_workers: int | None  # processes that read samples; None for what suits the machine
    inspector: Inspector  # knows which samples cannot be used
    left_out: Sequence[Problem]  # what could not be used and takes no part

    def connect(self, reader: Reader, augment: Callable[[Any], Any] | None, seed: int) -> None:
        """How samples are read from here on, with which augmentation in train and in which order; resets `serve`."""

    def serve(self, split: str, rows: Indexed, whole: bool = False) -> None:
        """From here on batches of this split bring rows (N, D), in the order of its samples, as "features".

        Args:
            whole: all of them as a single batch, in order.
        """

    def served(self, split: str) -> Indexed | None:
        """Those rows; None where samples are read."""

    def is_augmented(self, split: str) -> bool:
        """Whether its inputs differ from epoch to epoch."""

    def loader(self, split: str) -> DataLoader: ...

    def targets(self, split: str) -> Tensor:
        """(N, ...) of its samples, as the task encodes them."""

    def name_of(self, split: str, index: int) -> str:
        """What the dataset calls a sample."""

    def table(self) -> pd.DataFrame:
        """split.csv."""
