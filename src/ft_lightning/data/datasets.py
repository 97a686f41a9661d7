"""Datasets and samplers: what a loader reads, in which order, and with which random numbers."""

from collections.abc import Callable
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from ft_lightning.features.store import Rows
from ft_lightning.readers.images import look_at, read_image
from ft_lightning.readers.sample import Sample
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


def check_loader(batch_size: int, num_workers: int | None) -> None:
    """Raise UserError for values that a DataLoader cannot work with."""
    if not isinstance(batch_size, int) or batch_size < 1:
        raise UserError(f"batch_size={batch_size}: use a number from 1.")
    if num_workers is not None and (not isinstance(num_workers, int) or num_workers < 0):
        raise UserError(f"num_workers={num_workers}: use a number from 0, or null for what suits this machine.")
