"""The datasets behind the loaders, and the random numbers of their augmentations."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils.data import Dataset, default_collate

from ft_lightning.readers.sample import Reader, Sample
from ft_lightning.system.errors import UserError
from ft_lightning.system.seeds import seed_of


class Indexed(Protocol):
    """Features (N, D) indexed by positions: a tensor, or rows of the feature store."""

    def __len__(self) -> int: ...

    def __getitem__(self, positions: Tensor) -> Tensor: ...


@dataclass(eq=False, repr=False)
class SampleDataset(Dataset):
    """Samples by (epoch, position): the random numbers of an augmentation depend on seed, epoch and sample alone."""

    samples: Sequence[Sample]
    targets: Tensor
    reader: Reader
    seed: int
    weights: Tensor | None = None

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Any]:
        epoch, position = key
        sample = self.samples[position]
        with torch.random.fork_rng(devices=[]):
            # Seed the CPU's generator only: without workers, torch.manual_seed would reseed a GPU's dropout too.
            torch.default_generator.manual_seed(seed_of(self.seed, epoch, sample.digest))
            inputs = self.reader(sample)
        return {"inputs": inputs, "target": self.targets[position], "index": position} | _weight(self.weights, position)


@dataclass(eq=False, repr=False)
class StoredDataset(Dataset):
    """Stored features by a batch's positions (B,); reads no sample, and each batch in one step."""

    features: Indexed
    targets: Tensor
    weights: Tensor | None = None

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, positions: Tensor) -> dict[str, Tensor]:
        batch = {"features": self.features[positions], "target": self.targets[positions], "index": positions}
        return batch | _weight(self.weights, positions)


def _weight(weights: Tensor | None, at: int | Tensor) -> dict[str, Tensor]:
    return {} if weights is None else {"weight": weights[at]}


@dataclass(eq=False, repr=False)
class InspectedDataset(Dataset):
    """Samples in a given order, without labels; each item is `{"inputs", "index", "error", "inspection"}`.

    An unusable sample gives a blank input and the reason in `error`, which begins with its path.
    """

    samples: Sequence[Sample]
    reader: Reader

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, position: int) -> dict[str, Any]:
        inputs, found = self.reader.inspect(self.samples[position])
        error = found.error and f"{self.samples[position].path}: {found.error}."
        return {"inputs": inputs, "index": position, "error": error, "inspection": found}


def collating(reader: Reader) -> Callable[[list[dict[str, Any]]], dict[str, Any]]:
    """Return the collate function of the datasets above: the reader collates inputs, torch the rest."""
    return partial(_collate, reader)


def _collate(reader: Reader, items: list[dict[str, Any]]) -> dict[str, Any]:
    rest = default_collate([{key: value for key, value in item.items() if key != "inputs"} for item in items])
    return {"inputs": reader.collate([item["inputs"] for item in items])} | rest


def longest_first(samples: Sequence[Sample], reader: Reader, size: int) -> list[list[int]]:
    """Return positions batch by batch, so that those of a batch are of like length, or of one (`Reader.apart`).

    They are in order if all samples are equally large.
    """
    lengths = reader.lengths(samples)
    order, runs = list(range(len(samples))), []
    if lengths is not None:
        order.sort(key=lambda at: -lengths[at])
        runs = [list(run) for _, run in groupby(order, lengths.__getitem__)] if getattr(reader, "apart", False) else []
    return [run[at : at + size] for run in runs or [order] for at in range(0, len(run), size)]


def check_loader(batch_size: int, num_workers: int | None) -> None:
    """Raise UserError for values that a DataLoader cannot work with."""
    if not isinstance(batch_size, int) or batch_size < 1:
        raise UserError(f"batch_size={batch_size}: use a number from 1.")
    if num_workers is not None and (not isinstance(num_workers, int) or num_workers < 0):
        raise UserError(f"num_workers={num_workers}: use a number from 0, or null for what suits this machine.")
