"""Finished runs as the rows of one table, the best on val first."""

import itertools
import math
import os
import shlex
import string
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from ft_lightning.runs.paired import answers, fingerprint
from ft_lightning.runs.run import Run
from ft_lightning.system.errors import UserError

COLUMNS = (
    *("run", "val accuracy", "test accuracy", "low", "high", "test set", "model", "finetune", "overrides"),
    *("macro F1", "loss", "ECE", "n", "trained on", "seconds", "data"),
)
_NUMBERS = {  # by column, where metrics.json has them
    "val accuracy": "val.accuracy",
    "test accuracy": "test.accuracy",
    "macro F1": "test.f1_macro",
    "loss": "test.loss",
    "ECE": "test.ece",
    "n": "test.n",
    "trained on": "data.trained_on",
    "seconds": "timing.total_s",
}


def leaderboard(runs: Sequence[Run]) -> pd.DataFrame:
    """One row a run, ordered by accuracy on val, then on test; the columns are COLUMNS.

    `low` and `high` are the 95 % interval of the accuracy on test, `seconds` is the time of the whole run. Runs that
    were tested on the same samples have the same letter as `test set`. `trained on` is how many samples of an
    evaluation the model was trained on. `overrides` is what was typed for a run, but not for all. What a run does not
    say is empty.
    """
    board = pd.DataFrame([_row(run) for run in runs])
    for count in ("n", "trained on"):
        known = board[count].dropna()
        if (known % 1 == 0).all() and (known.abs() < 2**53).all():
            board[count] = board[count].astype("Int64")
    typed = [_overrides(run) for run in runs]
    told = [set(words) for words in typed if words is not None]
    common = set.intersection(*told) if len(told) > 1 else set()
    board["overrides"] = [shlex.join(word for word in words or [] if word not in common) for words in typed]
    fingerprints = [_fingerprint(run) for run in runs]
    order = ["val accuracy", "test accuracy"]
    board = board.assign(fingerprint=fingerprints).sort_values(order, ascending=False, kind="stable")
    letters = dict(zip(dict.fromkeys(filter(None, board["fingerprint"])), _letters(), strict=False))
    board["test set"] = [letters.get(each, "") for each in board["fingerprint"]]
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


def _row(run: Run) -> dict[str, Any]:
    """The columns that come from metrics.json, model.json and config.yaml; somebody may have changed any of them."""
    metrics, card, config = _flat(run.metrics), _flat(run.card), _flat(run.config)
    bounds = metrics.get("test.accuracy_ci95")
    low, high = bounds if isinstance(bounds, list) and len(bounds) == 2 else (None, None)
    return {
        "run": str(run),
        **{column: _number(metrics.get(place)) for column, place in _NUMBERS.items()},
        "low": _number(low),
        "high": _number(high),
        "data": _text(metrics.get("data.location")),
        "model": _text(card.get("backbone.name")) or _text(config.get("model.name")),
        "finetune": _text(card.get("finetune.mode")) or _text(config.get("finetune.mode")),
    }


def _flat(content: dict[str, Any]) -> dict[str, Any]:
    """{"test": {"loss": 1}} -> {"test.loss": 1}; `json_normalize` of pandas copies all that is below, to any depth."""
    parts = {part: inside for part, inside in content.items() if isinstance(inside, dict)}
    return {f"{part}.{name}": value for part, inside in parts.items() for name, value in inside.items()}


def _number(value: object) -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max
    return float(value) if is_number else math.nan  # type: ignore[arg-type]


def _text(value: object) -> str:
    return str(value) if isinstance(value, str | int) else ""


def _overrides(run: Run) -> list[str] | None:
    """What was typed for a run; None where nobody knows, as for one that was made in Python."""
    words = run.command[3:]  # after python -m ft_lightning.train
    return [word for word in words if not word.startswith(("hydra.", "resume="))] if run.command else None


def _fingerprint(run: Run) -> str:
    try:
        return fingerprint(answers(run))
    except (OSError, UserError):  # no predictions.csv, or none that can be read
        return ""


def _letters() -> Iterator[str]:
    """A, B, ... Z, AA, AB, ..."""
    for length in itertools.count(1):
        yield from map("".join, itertools.product(string.ascii_uppercase, repeat=length))
