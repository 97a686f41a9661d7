"""Rows of the feature store, in the order of given samples."""

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor

from ft_lightning.system.errors import number_of

_IN_MEMORY = 256 * 2**20  # bytes of features up to which a split is copied, because one tensor is faster to index


class Rows:
    """Stored features in the order of their samples: `rows[positions]` is a batch (B, D) in float32.

    The shards may be memory-mapped, so more features than fit into memory work.

    Args:
        tensors: features (N_i, D) of each shard.
        shard: (N,) index of the shard that holds a sample's row, -1 for none.
        row: (N,) row within that shard.
    """

    def __init__(self, tensors: list[Tensor], shard: Tensor, row: Tensor) -> None:
        self._tensors, self._shard, self._row = tensors, shard, row
        self.missing: list[int] = (shard < 0).nonzero().flatten().tolist()

    def __len__(self) -> int:
        return len(self._shard)

    def __getitem__(self, positions: Tensor) -> Tensor:
        return self._gather(positions).float()

    def compacted(self) -> "Rows":
        """Return the same rows, copied into one tensor if they are small enough; none may be missing."""
        assert not self.missing, f"{number_of(len(self.missing), 'sample has', 'samples have')} no features"
        if not len(self) or len(self) * self._like().shape[1] * self._like().itemsize > _IN_MEMORY:
            return self
        everything = torch.arange(len(self))
        return Rows([self._gather(everything)], torch.zeros_like(everything), everything)

    @classmethod
    def joined(cls, parts: Sequence["Rows"]) -> "Rows":
        """Return the rows of several, one after the other."""
        starts = [0, *itertools.accumulate(len(part._tensors) for part in parts)]
        return cls(
            [tensor for part in parts for tensor in part._tensors],
            torch.cat([part._shard + start for part, start in zip(parts, starts, strict=False)]),
            torch.cat([part._row for part in parts]),
        )

    def picked(self, positions: Tensor) -> "Rows":
        """Return the rows at these positions, in this order."""
        return Rows(self._tensors, self._shard[positions], self._row[positions]).compacted()

    def _like(self) -> Tensor:
        """Return a tensor with the type and width of all rows; an unused shard may have others."""
        if not len(self):
            return next(iter(self._tensors), torch.empty(0, 0))
        return self._tensors[int(self._shard[0])]

    def _gather(self, positions: Tensor) -> Tensor:
        shard, row = self._shard[positions], self._row[positions]
        if len(self._tensors) == 1:
            return self._tensors[0].index_select(0, row)  # a fifth of the time of indexing by a tensor
        found = self._like().new_empty(len(positions), self._like().shape[1])
        for i in shard.unique():
            here = shard == i
            found[here] = self._tensors[i][row[here]]
        return found
