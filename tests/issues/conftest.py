"""Features that several tests of suspicious labels share."""

import pytest
import torch

from ft_lightning import build
from ft_lightning.check import features_of
from ft_lightning.cli.compose import compose


@pytest.fixture(scope="session")
def digits() -> tuple[torch.Tensor, torch.Tensor]:
    """Features (899, 1280) of every second handwritten digit by the real network, and their classes."""
    cfg = compose("check", "model=efficientnet_lite0")
    data = build.data(compose("train", "data=digits"))
    samples = [sample for split in data.splits.values() for sample in split][::2]
    targets = data.task.encode([sample.label for sample in samples])
    return features_of(cfg, samples), targets
