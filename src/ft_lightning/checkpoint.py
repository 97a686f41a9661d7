"""Checkpoints of a run: the best and the last epoch, without the frozen part."""

from pathlib import Path

from lightning.pytorch.callbacks import ModelCheckpoint


def best_and_last(folder: Path, monitor: str, mode: str) -> tuple[ModelCheckpoint, ModelCheckpoint]:
    """The two checkpoints a run keeps: best.ckpt (the first of equals) and last.ckpt, written after each epoch."""
    best = ModelCheckpoint(
        dirpath=folder, filename="best", monitor=monitor, mode=mode, save_top_k=1, enable_version_counter=False
    )
    last = ModelCheckpoint(dirpath=folder, filename="last", save_top_k=1, enable_version_counter=False)
    return best, last
