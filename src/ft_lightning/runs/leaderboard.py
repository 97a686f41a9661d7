"""Finished runs as the rows of one table, the best on val first."""

import glob
import itertools
import json
import math
import os
import shlex
import string
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from ft_lightning.data.folders import subfolders
from ft_lightning.runs.config import FILE, command_of, kept
from ft_lightning.runs.paired import answers, fingerprint
from ft_lightning.system.errors import UserError

COLUMNS = (
    *("run", "val accuracy", "test accuracy", "low", "high", "test set", "model", "finetune", "overrides"),
    *("macro F1", "loss", "ECE", "n", "trained on", "seconds", "data"),
)
_DEPTH = 2  # of runs below a folder: outputs/train holds multiruns, which hold runs


def find_runs(patterns: Sequence[str], but: Path | None = None) -> tuple[list[Path], list[Path]]:
    """The finished runs that globs of directories stand for, and what else they match or hold that is none.

    A directory may be a run, or hold runs, as those of a multirun and of a search do.

    Args:
        but: the real path of a directory that is passed over without a word.
    """
    runs: dict[Path, Path] = {}  # by where they really are: two globs may match the same
    others: dict[Path, Path] = {}
    for place in (place for pattern in patterns for place in _matches(pattern)):
        try:
            found = list(_look(place, _DEPTH))
        except (OSError, UserError):  # it may not be looked into
            found = []
        for folder, is_finished in found or [(place, False)]:
            if folder.resolve() != but:
                (runs if is_finished else others).setdefault(folder.resolve(), folder)
    return list(runs.values()), list(others.values())


def _matches(pattern: str) -> list[Path]:
    path = Path(pattern).expanduser()
    if path.exists():  # its name may have brackets
        return [path]
    return sorted(map(Path, glob.glob(str(path), recursive=True)))  # noqa: PTH207 (Path.glob takes no absolute pattern)


def _look(folder: Path, depth: int) -> Iterator[tuple[Path, bool]]:
    """Each run at or below a folder, and whether it is finished: one that failed or goes on has no metrics."""
    if read_metrics(folder):
        yield folder, True
    elif depth and folder.is_dir():
        below = [found for name in subfolders(folder) for found in _look(folder / name, depth - 1)]
        if (folder / FILE).is_file() and not any(is_finished for _, is_finished in below):
            below = [(folder, False)]
        yield from below
    elif (folder / FILE).is_file():
        yield folder, False


def read_metrics(folder: Path) -> dict[str, Any] | None:
    """metrics.json of a finished run; None where there is none with the accuracy on test."""
    metrics = _json(folder / "metrics.json")
    return None if math.isnan(_number(metrics, "test", "accuracy")) else metrics


def never_scored(folder: Path) -> bool:
    """Whether it is of a command that leaves no accuracy, which is no run that failed."""
    try:
        verb = command_of(folder).partition(" -m ")[2].partition(" ")[0].rpartition(".")[2]
    except (OSError, ValueError):
        return False
    return verb in ("check", "predict", "report")


def leaderboard(run_dirs: Sequence[Path]) -> pd.DataFrame:
    """One row a run, ordered by accuracy on val, then on test; the columns are COLUMNS.

    `low` and `high` are the 95 % interval of the accuracy on test. Runs that were tested on the same samples have the
    same letter as `test set`. `trained on` is how many samples of an evaluation the model was trained on. `overrides`
    is what was typed for a run, but not for all. What a run does not say is empty.
    """
    board = pd.DataFrame([_row(run_dir) for run_dir in run_dirs])
    for count in ("n", "trained on"):
        if (board[count].dropna() % 1 == 0).all():
            board[count] = board[count].astype("Int64")
    typed = [_overrides(run_dir) for run_dir in run_dirs]
    known = [set(words) for words in typed if words is not None]
    common = set.intersection(*known) if len(known) > 1 else set()
    board["overrides"] = [shlex.join(word for word in words or [] if word not in common) for words in typed]
    board = board.sort_values(["val accuracy", "test accuracy"], ascending=False, kind="stable", na_position="last")
    fingerprints = [_fingerprint(Path(run)) for run in board["run"]]
    letters = dict(zip(dict.fromkeys(filter(None, fingerprints)), _letters(), strict=False))
    board["test set"] = [letters.get(each, "") for each in fingerprints]
    return board[list(COLUMNS)].reset_index(drop=True)


def short_names(runs: Iterable[str]) -> list[str]:
    """Run directories as seen from the folder that all of them are in."""
    places = [Path(run).absolute() for run in runs]
    above = os.path.commonpath([place.parent for place in places])
    return [place.relative_to(above).as_posix() for place in places]


def two_best(board: pd.DataFrame) -> list[str]:
    """The first two of the largest group that was tested on the same samples; of all, where no two were."""
    tested = board[board["test set"] != ""]
    ((letter, size),) = Counter(tested["test set"]).most_common(1) or [("", 0)]  # of equals the one that comes first
    chosen = tested[tested["test set"] == letter] if size > 1 else tested
    return chosen["run"].head(2).tolist()


def _row(run_dir: Path) -> dict[str, Any]:
    metrics, config = read_metrics(run_dir), _config(run_dir)
    card = _json(run_dir / "model/model.json") or _at(metrics, "model")  # an evaluation has it in its metrics
    return {
        "run": str(run_dir),
        "model": _text(card, "backbone", "name") or _text(config, "model", "name"),
        "finetune": _text(card, "finetune", "mode") or _text(config, "finetune", "mode"),
        "data": _text(metrics, "data", "location"),
        "val accuracy": _number(metrics, "val", "accuracy"),
        "test accuracy": _number(metrics, "test", "accuracy"),
        "low": _number(metrics, "test", "accuracy_ci95", 0),
        "high": _number(metrics, "test", "accuracy_ci95", 1),
        "macro F1": _number(metrics, "test", "f1_macro"),
        "loss": _number(metrics, "test", "loss"),
        "ECE": _number(metrics, "test", "ece"),
        "n": _number(metrics, "test", "n"),
        "trained on": _number(metrics, "data", "trained_on"),
        "seconds": _number(metrics, "timing", "total_s"),
    }


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):  # none, or somebody has changed it
        return None


def _config(run_dir: Path) -> dict[str, Any]:
    try:
        return kept(run_dir)
    except (OSError, ValueError, YAMLError, OmegaConfBaseException):
        return {}


def _overrides(run_dir: Path) -> list[str] | None:
    """What was typed for a run; None where nobody knows, as for one that was made in Python."""
    try:
        command = shlex.split(command_of(run_dir))
    except (OSError, ValueError):
        return None
    words = command[3:]  # after python -m ft_lightning.train
    return [word for word in words if not word.startswith(("hydra.", "resume="))] if command else None


def _fingerprint(run_dir: Path) -> str:
    try:
        return fingerprint(answers(run_dir))
    except UserError:  # no predictions.csv, or none that can be read
        return ""


def _letters() -> Iterator[str]:
    """A, B, ... Z, AA, AB, ..."""
    for length in itertools.count(1):
        yield from map("".join, itertools.product(string.ascii_uppercase, repeat=length))


def _at(node: Any, *keys: str | int) -> Any:
    """What stands there in nested content; None where nothing does, or somebody has changed it."""
    for key in keys:
        inside = isinstance(node, dict) if isinstance(key, str) else isinstance(node, list)
        try:
            node = node[key] if inside else None
        except LookupError:
            return None
    return node


def _number(node: Any, *keys: str | int) -> float:
    value = _at(node, *keys)
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if is_number else math.nan


def _text(node: Any, *keys: str | int) -> str:
    value = _at(node, *keys)
    return "" if value is None else str(value)
