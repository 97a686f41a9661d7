"""The processes of one run: which of them is the main one, and gathering what each has."""

import os
from typing import Any


def is_main_process() -> bool:
    """Whether this is the main process of a run, the only one that prints and writes files."""
    if "RANK" in os.environ:  # of torchrun, which counts in its own way inside SLURM
        return os.environ["RANK"] == "0"
    # Lightning's own launcher, also in an interactive job of SLURM, where all have SLURM_PROCID=0; then srun.
    return all(os.environ.get(name, "0") == "0" for name in ("LOCAL_RANK", "NODE_RANK", "SLURM_PROCID"))


def gather_objects(own: Any, world_size: int) -> list[Any]:
    """`all_gather_object`; a list of one where there is one process."""
    everyone = [own] * world_size
    if world_size > 1:
        from torch import distributed

        distributed.all_gather_object(everyone, own)
    return everyone
