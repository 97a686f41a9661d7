"""Silences what Lightning says in every run and a user can do nothing about."""

import logging
import warnings

_NOISE = (
    r".*module\(s\) in eval mode at the start of training",  # intended: the frozen part stays in eval mode
    r".*does not have many workers",  # the number is chosen for the machine
    r".*recommended to use `self\.log\(.*sync_dist=True",  # every process already logs the same value
    r".*could not find the monitored key",  # in epochs before the first validation
    r"Checkpoint directory .* exists and is not empty",  # when a run is resumed
    r".*your dataloader is not resumable",  # it is
    r".*distributed\.nn\.functional\.all_gather is deprecated",  # Lightning 2.6 with torch 2.15
    r"Be aware that when using `ckpt_path`.*\['WeightAveraging'\]",  # the averaged weights are tested without it
    r".*isinstance\(treespec, LeafSpec\).* is deprecated",  # Lightning 2.6 with torch 2.15
)


def hush_frameworks() -> None:
    """Ignore these warnings, and let Lightning's loggers report nothing but warnings: our summary replaces theirs."""
    for library in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(library).setLevel(logging.WARNING)
    for message in _NOISE:
        warnings.filterwarnings("ignore", message)
