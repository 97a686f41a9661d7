"""Features that several tests of suspicious labels share."""

import os

import pytest
import torch
from filelock import FileLock

from ft_lightning import build
from ft_lightning.check import computing, features_of
from ft_lightning.cli.compose import compose


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> tuple[torch.Tensor, torch.Tensor]:
    """Features (899, 1280) of every second handwritten digit by the real network, and their classes."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:  # one computes them for all
        folder = folder.parent
    path = folder / "digits.pt"
    with FileLock(path.with_suffix(".lock")):
        if not path.exists():
            torch.save(computed(), path)
    return torch.load(path)


def computed() -> tuple[torch.Tensor, torch.Tensor]:
    cfg = compose("check", "model=efficientnet_lite0")
    data = build.data(compose("train", "data=digits"))
    samples = [sample for split in data.splits.values() for sample in split][::2]
    targets = data.task.encode([sample.label for sample in samples])
    return features_of(cfg, samples, *computing(cfg)), targets
