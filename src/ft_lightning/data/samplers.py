"""The order in which a loader reads samples, and where in it an epoch starts."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torch.utils.data import Sampler

from ft_lightning.system.errors import UserError
from ft_lightning.system.seeds import seed_of

_SORTED = 50  # batches that are sorted by length together

Order = Callable[[Tensor, Generator], Tensor]  # (N,) group of each sample, such as its class -> (N,) positions


def shuffle(groups: Tensor, generator: Generator) -> Tensor:
    """Return each position once, in random order."""
    return torch.randperm(len(groups), generator=generator)


def balanced(groups: Tensor, generator: Generator) -> Tensor:
    """Draw equally many samples of each group with replacement: those of a small group repeat within an epoch."""
    counts = torch.bincount(groups)
    drawn = torch.randperm(len(groups), generator=generator) % len(counts)
    nth = (torch.rand(len(groups), generator=generator) * counts[drawn]).long()
    return groups.argsort(stable=True)[(counts.cumsum(0) - counts)[drawn] + nth]


def of_like_length(positions: Tensor, lengths: Tensor, batch: int, generator: Generator) -> Tensor:
    """Reorder positions so that each batch holds samples of like length, as padding costs time.

    Sorts fifty batches at a time and then shuffles the batches: with all sorted at once, every epoch would have the
    same batches. A last, smaller batch stays last.
    """
    whole = len(positions) // batch * batch
    parts = [part[lengths[part].argsort(stable=True)] for part in positions[:whole].split(_SORTED * batch)]
    batches = torch.cat([positions[:0], *parts]).view(-1, batch)
    order = torch.randperm(len(batches), generator=generator)
    return torch.cat([batches[order].flatten(), positions[whole:]])


# The choices of `data.sampler`: the order of train in an epoch.
# A sampler of your own: a function above, a line here.
SAMPLERS: dict[str, Order] = {"shuffle": shuffle, "balanced": balanced}


def check_sampler(name: str) -> None:
    """Raise UserError for an unknown sampler."""
    if name not in SAMPLERS:
        known = ", ".join(SAMPLERS)
        raise UserError(f"data.sampler={name} is unknown: use one of {known}, or add yours to data/samplers.py.")


def _described(value: object) -> str:
    if not isinstance(value, Tensor):
        return f"a {type(value).__name__}"
    whole = value.numel() and not value.is_floating_point()
    extent = f" from {value.min()} to {value.max()}" if whole else ""
    return f"a tensor of shape {tuple(value.shape)}, {str(value.dtype).removeprefix('torch.')}{extent}"


@dataclass(eq=False, repr=False)
class EpochSampler(Sampler[tuple[int, int]]):
    """Yields (epoch, position) of one process's share of a split.

    The order is a function of (seed, epoch). Every process gets equally many samples; some are repeated to fill up, and
    metrics count them once by their position.
    """

    length: int  # N
    shuffle_seed: int | None  # None: in order, or the longest first where lengths are given
    rank: int
    world_size: int
    order: Order = shuffle
    groups: Tensor | None = None  # (N,) of each sample, for orders that depend on it
    lengths: Tensor | None = None  # (N,) of each sample, where a batch should hold samples of like length
    batch_size: int = 1  # of one process, for `lengths`

    def __post_init__(self) -> None:
        self.epoch = 0
        self._done = (-1, 0)

    def start_at(self, epoch: int, samples: int) -> None:
        """Start within an epoch, after this many samples, which have been trained on."""
        self._done = (epoch, samples)
        self.set_epoch(epoch)

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch; Lightning calls this before each one."""
        self.epoch = epoch

    def __len__(self) -> int:
        return (self.length + self.world_size - 1) // self.world_size

    def positions(self) -> Tensor:
        """Return this process's positions (n,) in this epoch, in order."""
        epoch, done = self._done
        turns = torch.arange(done if epoch == self.epoch else 0, len(self)) * self.world_size + self.rank
        if self.shuffle_seed is None:
            turns = turns % self.length
            return turns if self.lengths is None else self.lengths.argsort(descending=True, stable=True)[turns]
        generator = torch.Generator().manual_seed(seed_of(self.shuffle_seed, self.epoch, "order"))
        groups = torch.zeros(self.length, dtype=torch.int64) if self.groups is None else self.groups
        positions = self._checked(self.order(groups, generator))
        if self.lengths is not None:
            positions = of_like_length(positions, self.lengths, self.batch_size * self.world_size, generator)
        return positions[turns % self.length]

    def _checked(self, positions: Tensor) -> Tensor:
        """Refuse what a function of the user's own has returned in place of an order."""
        right = (
            isinstance(positions, Tensor) and positions.shape == (self.length,) and not positions.is_floating_point()
        )
        if not right or not 0 <= positions.min() <= positions.max() < self.length:
            raise UserError(
                f"data.sampler: {self.order.__name__} returned {_described(positions)}: make it a tensor of "
                f"{self.length} positions, whole numbers from 0 to {self.length - 1}."
            )
        return positions

    def __iter__(self) -> Iterator[tuple[int, int]]:
        for position in self.positions().tolist():
            yield self.epoch, position


@dataclass(eq=False, repr=False)
class BatchPositions(Sampler[Tensor]):
    """Yields the batches of an EpochSampler, each as one tensor of positions (B,)."""

    sampler: EpochSampler
    batch_size: int
    drop_last: bool

    def set_epoch(self, epoch: int) -> None:
        self.sampler.set_epoch(epoch)

    def __len__(self) -> int:
        whole, rest = divmod(len(self.sampler), self.batch_size)
        return whole + (rest > 0 and not self.drop_last)

    def __iter__(self) -> Iterator[Tensor]:
        yield from self.sampler.positions().split(self.batch_size)[: len(self)]
