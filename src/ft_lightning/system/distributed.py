"""The processes of one run: which is the main one, how they exchange objects and how they share work."""

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from lightning import Trainer

T = TypeVar("T")


def is_main_process() -> bool:
    """Return whether this is the main process of a run, the only one that prints and writes files."""
    if "RANK" in os.environ:  # torchrun, whose ranks inside SLURM are not SLURM's
        return os.environ["RANK"] == "0"
    # Lightning's own launcher, also in an interactive SLURM job, where all have SLURM_PROCID=0; then srun.
    return all(os.environ.get(name, "0") == "0" for name in ("LOCAL_RANK", "NODE_RANK", "SLURM_PROCID"))


@dataclass(frozen=True)
class Processes:
    """The processes of a run, as seen by one of them; by default a single process.

    Args:
        rank: of this process.
        size: number of processes.
        local_rank, local_size: the same on this machine.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1

    @classmethod
    def of(cls, trainer: "Trainer") -> "Processes":
        """Return the processes of a Trainer, once it has started them."""
        return cls(trainer.global_rank, trainer.world_size, trainer.local_rank, trainer.num_devices)

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    def gather(self, own: T) -> list[T]:
        """Return the object of each process, in order of rank. Collective."""
        everyone = [own] * self.size
        if self.size > 1:
            from torch import distributed

            distributed.all_gather_object(everyone, own)
        return everyone

    def shares(self) -> list[tuple[int, int]]:
        """Return the rounds in which work is shared, each as (position, number of processes that share).

        First among all processes; then among those of each machine, as machines may share no disk; then alone.
        """
        if self.size == 1:
            return [(0, 1)]
        return [(self.rank, self.size), (self.local_rank, self.local_size), (0, 1)]
