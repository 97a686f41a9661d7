"""Refuses directories that a run would mix with others' files, or that lie inside its dataset."""

from pathlib import Path
from typing import Any

from ft_lightning.runs.run import Run
from ft_lightning.system.errors import UserError


def refuse_used_directory(run_dir: Path) -> None:
    """Raise UserError if a directory holds a run, or anything else."""
    if others := Run(run_dir).traces():
        raise UserError(
            f"hydra.run.dir={run_dir} holds a run already, or something else ({others[0]}), which this run would mix "
            "with its own files: name another."
        )


def refuse_cache_inside_dataset(cache_dir: Any, root: Any) -> None:
    """Raise UserError if the cache lies inside the dataset."""
    if cache_dir is not None and _is_inside(Path(str(cache_dir)).expanduser(), root):
        raise UserError(
            f"cache.dir={cache_dir} lies inside the dataset data.root={root}, which is never written to: name another."
        )


def refuse_run_inside_dataset(run_dir: Path, root: Any) -> None:
    """Raise UserError if a run directory lies inside the dataset; remove the folders just made for it."""
    if not _is_inside(run_dir, root):
        return
    root = str(root)
    for folder in (run_dir, *run_dir.parents):  # the empty folders that Hydra has just made
        try:
            if folder.resolve() == Path(root).expanduser().resolve() or any(folder.iterdir()):
                break
            folder.rmdir()
        except FileNotFoundError:  # another process of this run was here
            continue
    raise UserError(
        f"hydra.run.dir={run_dir} lies inside the dataset data.root={root}, which is never written to: "
        "start from another directory, or set hydra.run.dir."
    )


def _is_inside(folder: Path, root: Any) -> bool:
    # str: Hydra parses a folder name such as 2024 as a number
    return root is not None and folder.resolve().is_relative_to(Path(str(root)).expanduser().resolve())
