"""Datasets and samplers: what a loader reads, in which order, and with which random numbers."""

import os
from collections.abc import Callable, Iterator
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from ft_lightning.data.scan import Sample
from ft_lightning.features.store import Rows
from ft_lightning.readers.images import look_at, read_image
from ft_lightning.system.errors import UserError
from ft_lightning.system.seeds import seed_of

Transform = Callable[[Image.Image], Tensor]  # RGB image -> uint8 pixels (3, H, W)


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
            torch.default_generator.manual_seed(seed_of(self.seed, epoch, sample.digest))
            inputs = self.transform(image)
        return {"inputs": inputs, "target": self.targets[sample.label], "index": position}


class StoredDataset(Dataset):
    """Stored features by a batch's positions (B,): no picture is read and nothing is done sample by sample."""

    def __init__(self, features: Rows, targets: Tensor) -> None:
        self.features = features
        self.targets = targets

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, positions: Tensor) -> dict[str, Tensor]:
        return {"features": self.features[positions], "target": self.targets[positions], "index": positions}


class PathsDataset(Dataset):
    """Files in a given order, without labels; one that cannot be read gives a blank picture and says why in `error`.

    Samples are `{"inputs", "index", "error", "look"}`, the last an `images.Look`.

    Args:
        digests: of each file's bytes; other bytes are an error.
    """

    def __init__(
        self, paths: list[str], preprocess: Transform, max_pixels: int, digests: list[str] | None = None
    ) -> None:
        self.paths = paths
        self.preprocess = preprocess
        self.max_pixels = max_pixels
        self.digests = digests

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, position: int) -> dict[str, Any]:
        path, digest = self.paths[position], self.digests[position] if self.digests else None
        image, look = look_at(path, self.max_pixels, digest)
        inputs = self.preprocess(image or Image.new("RGB", (32, 32)))
        return {"inputs": inputs, "index": position, "error": look.error and f"{path}: {look.error}.", "look": look}


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
        self._done = (-1, 0)

    def start_at(self, epoch: int, samples: int) -> None:
        """Go on within an epoch: leave out this many of its samples, those before have been trained on."""
        self._done = (epoch, samples)
        self.set_epoch(epoch)

    def set_epoch(self, epoch: int) -> None:
        """Lightning calls it before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return (self.length + self.world_size - 1) // self.world_size

    def positions(self) -> Tensor:
        """(n,) of this process in this epoch, in order."""
        epoch, done = self._done
        turns = torch.arange(done if epoch == self.epoch else 0, len(self)) * self.world_size + self.rank
        if self.shuffle_seed is None:
            return turns % self.length
        generator = torch.Generator().manual_seed(seed_of(self.shuffle_seed, self.epoch, "order"))
        return torch.randperm(self.length, generator=generator)[turns % self.length]

    def __iter__(self) -> Iterator[tuple[int, int]]:
        for position in self.positions().tolist():
            yield self.epoch, position


class BatchPositions(Sampler[Tensor]):
    """The batches that a DataLoader makes of an EpochSampler, each as one tensor of positions (B,)."""

    def __init__(self, sampler: EpochSampler, batch_size: int, drop_last: bool) -> None:
        self.sampler = sampler
        self.batch_size = batch_size
        self.drop_last = drop_last

    def set_epoch(self, epoch: int) -> None:
        self.sampler.set_epoch(epoch)

    def __len__(self) -> int:
        whole, rest = divmod(len(self.sampler), self.batch_size)
        return whole + (rest > 0 and not self.drop_last)

    def __iter__(self) -> Iterator[Tensor]:
        yield from self.sampler.positions().split(self.batch_size)[: len(self)]


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
