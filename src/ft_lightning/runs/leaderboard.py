"""A table of finished runs, best on val first."""

import itertools
import os
import re
import shlex
import string
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from ft_lightning.runs.paired import answers, fingerprint
from ft_lightning.runs.run import Run
from ft_lightning.system.errors import UserError, name_few
from ft_lightning.tasks.registry import TASKS, finite
from ft_lightning.tasks.task import Task

_TEXTS = ("run", "test set", "model", "finetune", "overrides", "data")  # all other columns are numbers


def leaderboard(runs: Sequence[Run]) -> pd.DataFrame:
    """Build a table with one row a run, ordered by what `decisive` names on val, then by the lower loss on val.

    Runs without a score on val, such as evaluations, come last, ordered by their score on test: nothing is chosen then.

    The columns: run, "val METRIC" of what decides, "val METRIC" and "test METRIC" of the task's own metric, low and
    high (95 % interval on test), test set, model, finetune, overrides, the other metrics that the task compares, n,
    trained on, seconds, data. Runs that were
    tested on the same samples have the same letter in `test set`. `trained on` counts the samples of an evaluation that
    the model was trained on, `seconds` is the time of the whole run, `overrides` holds those not common to all runs.
    Unknown values are empty.
    """
    task, metric = common_task(runs), decisive(runs)
    board = pd.DataFrame([_row(run, task, metric) for run in runs])
    numbers = [column for column in board.columns if column not in _TEXTS]
    board[numbers] = board[numbers].astype(float)
    for count in ("n", "trained on"):
        known = board[count].dropna()
        if (known % 1 == 0).all() and (known.abs() < 2**53).all():
            board[count] = board[count].astype("Int64")
    typed = [_overrides(run) for run in runs]
    known_words = [set(words) for words in typed if words is not None]
    common = set.intersection(*known_words) if len(known_words) > 1 else set()
    board["overrides"] = [shlex.join(word for word in words or [] if word not in common) for words in typed]
    board = board.iloc[sorted(range(len(runs)), key=lambda i: _order(runs[i], metric))].reset_index(drop=True)
    letters = dict(zip(filter(None, dict.fromkeys(board["test set"])), _letters(), strict=False))
    board["test set"] = [letters.get(fingerprint, "") for fingerprint in board["test set"]]
    return board


def decisive(runs: Iterable[Run]) -> str | None:
    """Return the metric on val that chose the epochs of all these runs; None, for their task's own, if they differ."""
    found = {run.monitored for run in runs if run.score("val").value is not None}
    return found.pop() if len(found) == 1 else None


def _order(run: Run, metric: str | None) -> tuple[tuple[float, float], ...]:
    val = run.score("val", metric)
    return (val.rank,) if val.value is not None else (val.rank, run.score("test").rank)


def common_task(runs: Iterable[Run]) -> type[Task]:
    """Return the task of all runs; raise UserError for several tasks, as no number compares them."""
    by_name: dict[str, list[str]] = {}
    for run in runs:
        by_name.setdefault(run.task, []).append(str(run))
    if len(by_name) > 1:
        those = "; ".join(f"{name}: {name_few(places)}" for name, places in by_name.items())
        raise UserError(f"runs: no number compares runs of different tasks. Name the runs of one of them ({those}).")
    (name,) = by_name
    if name not in TASKS:
        raise UserError(f"runs: the task {name!r} of {name_few(by_name[name])} is unknown here: leave those runs out.")
    return TASKS[name]


def short_names(runs: Iterable[str]) -> list[str]:
    """Return run directories relative to their common parent folder."""
    places = [Path(run).absolute() for run in runs]
    above = os.path.commonpath([place.parent for place in places])
    return [place.relative_to(above).as_posix() for place in places]


def differences(board: pd.DataFrame) -> list[str]:
    """Return in a line for each run how it differs from the others, with the last part of each path."""
    columns = [name for name in ("model", "finetune", "data") if len(set(board[name])) > 1]
    told = []
    for _, row in board.iterrows():
        data = [Path(row["data"]).name] if "data" in columns else []
        words = [word for word in shlex.split(row["overrides"]) if not word.startswith(("data.root=", "data.csv="))]
        shortened = [re.sub(r"(?<==)[^=]*/(?=[^/]+$)", ".../", word) for word in words]
        own = [row[name] for name in columns if name != "data"]
        told.append(" ".join(filter(None, [*own, *data, *shortened])))
    return told


def two_best(board: pd.DataFrame) -> list[str]:
    """Return the first two runs of the largest group tested on the same samples, or of all if no two share them."""
    tested = board[board["test set"] != ""]
    ((letter, size),) = Counter(tested["test set"]).most_common(1) or [("", 0)]  # on a tie, the first one
    chosen = tested[tested["test set"] == letter] if size > 1 else tested
    return chosen["run"].head(2).tolist()


def _row(run: Run, task: type[Task], metric: str | None) -> dict[str, Any]:
    """Return a run's row from metrics.json, model.json and config.yaml, which may have been edited by hand.

    Args:
        metric: what decides on val.
    """
    metrics, card, config = _flat(run.metrics), _flat(run.card), _flat(run.config)
    val, test, decides = run.score("val"), run.score("test"), run.score("val", metric)
    low, high = test.ci95 or (None, None)
    (_, title), *others = task.columns.items()
    return {
        "run": str(run),
        f"val {title if decides.metric == task.monitor else decides.title}": decides.value,
        f"val {title}": val.value,
        f"test {title}": test.value,
        "low": low,
        "high": high,
        "test set": _fingerprint(run),
        "model": _text(card.get("backbone.name")) or _text(config.get("model.name")),
        "finetune": _text(card.get("finetune.mode")) or _text(config.get("finetune.mode")),
        "overrides": "",
        **{title: finite(metrics.get(f"test.{metric}")) for metric, title in others},
        "n": finite(metrics.get("test.n")),
        "trained on": finite(metrics.get("data.trained_on")),
        "seconds": finite(metrics.get("timing.total_s")),
        "data": _text(metrics.get("data.location")),
    }


def _flat(content: dict[str, Any]) -> dict[str, Any]:
    """{"test": {"loss": 1}} -> {"test.loss": 1}; pandas' `json_normalize` would copy every level below, too."""
    parts = {part: inside for part, inside in content.items() if isinstance(inside, dict)}
    return {f"{part}.{name}": value for part, inside in parts.items() for name, value in inside.items()}


def _text(value: object) -> str:
    return str(value) if isinstance(value, str | int) else ""


def _overrides(run: Run) -> list[str] | None:
    """Return a run's overrides; None if they are unknown, as for a run made in Python."""
    words = run.command[3:]  # after python -m ft_lightning.train
    return [word for word in words if not word.startswith(("hydra.", "resume="))] if run.command else None


def _fingerprint(run: Run) -> str:
    try:
        return fingerprint(answers(run))
    except (OSError, UserError):  # predictions.csv is missing or unreadable
        return ""


def _letters() -> Iterator[str]:
    """Yield A, B, ... Z, AA, AB, ..."""
    for length in itertools.count(1):
        yield from map("".join, itertools.product(string.ascii_uppercase, repeat=length))
