"""Batches of samples of like length: the order is a function of (seed, epoch), and each sample comes once."""

import pytest
import torch

from ft_lightning.data.datasets import longest_first
from ft_lightning.data.samplers import EpochSampler, of_like_length
from ft_lightning.readers.sample import Sample

LENGTHS = 16 * torch.randint(1, 17, (1000,), generator=torch.Generator().manual_seed(0))


def epoch_of(epoch: int, rank: int = 0, world_size: int = 1, seed: int | None = 3) -> torch.Tensor:
    sampler = EpochSampler(len(LENGTHS), seed, rank, world_size, lengths=LENGTHS, batch_size=8)
    sampler.set_epoch(epoch)
    return sampler.positions()


def padding(positions: torch.Tensor) -> float:
    """The share of tokens that a batch of eight has beyond those of its texts."""
    batches = LENGTHS[positions].split(8)
    return sum(float(batch.max() * len(batch) - batch.sum()) for batch in batches) / float(LENGTHS.sum())


def test_each_sample_comes_once_in_batches_of_like_length() -> None:
    positions = epoch_of(0)
    assert positions.sort().values.tolist() == list(range(1000))
    assert padding(positions) < 0.1
    assert padding(torch.arange(1000)) > 0.5


def test_epochs_have_other_batches_and_the_same_epoch_the_same() -> None:
    assert epoch_of(4).equal(epoch_of(4))
    batches = [{frozenset(batch.tolist()) for batch in epoch_of(epoch).split(8)} for epoch in (0, 1)]
    assert not batches[0] & batches[1]
    first = [LENGTHS[epoch_of(epoch)[:8]].float().mean().item() for epoch in range(20)]
    assert max(first) > 2 * min(first), "an epoch does not always begin with short texts"


def test_processes_share_a_batch_of_like_length() -> None:
    halves = [epoch_of(2, rank, 2) for rank in (0, 1)]
    assert torch.cat(halves).sort().values.tolist() == list(range(1000))
    for one, other in zip(*(half[:496].split(8) for half in halves), strict=True):  # but for the last
        lengths = LENGTHS[torch.cat([one, other])]
        assert lengths.max() - lengths.min() <= 64


def test_a_smaller_last_batch_stays_last() -> None:
    positions = of_like_length(torch.arange(20), LENGTHS, 8, torch.Generator())
    assert positions[16:].tolist() == [16, 17, 18, 19]
    assert of_like_length(torch.arange(3), LENGTHS, 8, torch.Generator()).tolist() == [0, 1, 2]


def test_in_order_means_the_longest_first() -> None:
    positions = epoch_of(0, seed=None)
    assert LENGTHS[positions].diff().max() <= 0
    assert positions.sort().values.tolist() == list(range(1000))


@pytest.mark.parametrize(
    ("lengths", "apart", "batches"),
    [
        ([16, 48, 32, 48, 48], False, [[1, 3], [4, 2], [0]]),
        ([16, 48, 32, 48, 48], True, [[1, 3], [4], [2], [0]]),
        ([16, 48, 32, 48, 48], None, [[1, 3], [4, 2], [0]]),
        (None, True, [[0, 1], [2, 3], [4]]),
        ([], True, []),
    ],
)
def test_what_is_only_read_comes_longest_first_where_lengths_differ(
    lengths: list[int] | None, apart: bool | None, batches: list[list[int]]
) -> None:
    class Reader:
        def __init__(self) -> None:
            if apart is not None:  # which a reader of one's own may lack
                self.apart = apart

        def lengths(self, samples: list[Sample]) -> list[int] | None:
            return lengths

    samples = [Sample.of_text(str(i), "x") for i in range(5 if lengths is None else len(lengths))]
    assert longest_first(samples, Reader(), 2) == batches  # type: ignore[arg-type]
