"""Finding runs on the disk, wherever they are below what a person typed."""

import glob
from collections.abc import Iterator, Sequence
from pathlib import Path

from ft_lightning.runs.run import Run

_DEPTH = 2  # of runs below a folder: outputs/train holds multiruns, which hold runs


def find_runs(patterns: Sequence[str], but: Path | None = None) -> tuple[list[Run], list[Path]]:
    """`Run.find`."""
    runs: dict[Path, Run] = {}  # by where they really are: two globs may match the same
    others: dict[Path, Path] = {}
    for place in (place for pattern in patterns for place in _matches(pattern)):
        try:
            found = list(_look(Run(place), _DEPTH))
        except OSError:  # a folder cannot be listed
            found = []
        for run, finished in found or [(Run(place), False)]:
            if (real := run.path.resolve()) == but:
                continue
            if finished:
                runs.setdefault(real, run)
            else:
                others.setdefault(real, run.path)
    return list(runs.values()), list(others.values())


def _matches(pattern: str) -> list[Path]:
    path = Path(pattern).expanduser()
    if path.exists():  # its name may have brackets
        return [path]
    return sorted(map(Path, glob.glob(str(path), recursive=True)))  # noqa: PTH207 (Path.glob takes no absolute pattern)


def _look(run: Run, depth: int) -> Iterator[tuple[Run, bool]]:
    """Each run at or below a directory, and whether it is finished."""
    if run.finished:
        yield run, True
        return
    below = [found for folder in _folders(run.path) for found in _look(Run(folder), depth - 1)] if depth else []
    if run.config_file.is_file() and not any(finished for _, finished in below):
        below = [(run, False)]
    yield from below


def _folders(folder: Path) -> list[Path]:
    inside = folder.iterdir() if folder.is_dir() else ()
    return sorted(path for path in inside if not path.name.startswith(".") and path.is_dir())
