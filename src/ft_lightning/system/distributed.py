"""The processes of one run: which of them speaks, and what they know together."""

import os
from typing import Any


def is_main_process() -> bool:
    """Whether this process speaks for the run: the others of a distributed run stay silent and write nothing."""
    if "RANK" in os.environ:  # of torchrun, which counts in its own way inside SLURM
        return os.environ["RANK"] == "0"
    # Lightning's own launcher, also in an interactive job of SLURM, where all have SLURM_PROCID=0; then srun.
    return all(os.environ.get(name, "0") == "0" for name in ("LOCAL_RANK", "NODE_RANK", "SLURM_PROCID"))


def gather_objects(own: Any, world_size: int) -> list[Any]:
    """An object of this process -> those of all, in all."""
    everyone = [own] * world_size
    if world_size > 1:
        from torch import distributed

        distributed.all_gather_object(everyone, own)
    return everyone
