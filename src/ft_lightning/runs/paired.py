"""Compares two runs on their common test samples: by a paired bootstrap, or by how much more often one is right."""

import hashlib
import json
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from ft_lightning.runs.run import Run
from ft_lightning.tasks.intervals import difference_interval, resamples
from ft_lightning.tasks.registry import task_class
from ft_lightning.tasks.task import Task


@dataclass(frozen=True, slots=True)
class Comparison:
    """How two runs answered the same samples."""

    matched_by: str  # content or path
    n: int  # samples that both were tested on
    both_right: int
    only_first: int
    only_second: int
    difference: float  # first minus second, of the shares that are right
    ci95: tuple[float, float]
    p_value: float  # of McNemar's exact test, two-sided


@dataclass(frozen=True, slots=True)
class Difference:
    """How far two runs are apart in the metric of their task."""

    matched_by: str  # content or path
    n: int  # samples that both were tested on
    difference: float  # first minus second
    ci95: tuple[float, float]  # by a percentile bootstrap over these samples, the same ones for both


def difference(first: Run, second: Run) -> Difference | None:
    """Compare the metric of two runs of one task on the samples that both were tested on.

    Returns None if they share none, or where right answers are to be counted instead (`compare`).
    """
    tables, matched_by = _matched(first, second, whole=True)
    keyed = [table.set_index(_keys(table, matched_by)) for table in tables]
    common = keyed[0].index.intersection(keyed[1].index)
    if common.empty:
        return None
    one, other = (table.loc[common] for table in keyed)
    found = resampled_difference(task_class(first.task), one, other)
    known_by = "content" if matched_by == "digest" else "path"
    return found and Difference(known_by, len(common), *found)


def resampled_difference(
    task: type[Task], one: pd.DataFrame, other: pd.DataFrame
) -> tuple[float, tuple[float, float]] | None:
    """Return how far two tables of answers for the same samples are apart in `monitor`, and the 95 % interval.

    None where right answers are to be counted instead, or the metric is not defined.
    """
    n = len(one)
    measured_by = next(each for each in task.__mro__ if "resampled" in vars(each))
    if getattr(measured_by, "monitor", None) != task.monitor:
        return None  # a task made of another, whose metric that is
    whole = [task.resampled(table, np.ones((1, n), dtype=int)) for table in (one, other)]
    if whole[0] is None or whole[1] is None or np.isnan(whole[0] - whole[1]).any():
        return None
    parts = []
    names = {name for label in one["label"].unique() for name in task.names_in(label)}
    for draws in resamples(n, max(1, len(names))):
        values = [task.resampled(table, draws) for table in (one, other)]
        assert values[0] is not None
        assert values[1] is not None
        parts.append(values[0] - values[1])
    low, high = np.nanpercentile(np.concatenate(parts), [2.5, 97.5])
    return float(whole[0][0] - whole[1][0]), (float(low), float(high))


def beside(task: type[Task], metric: str, one: pd.DataFrame, other: pd.DataFrame) -> tuple[float, float] | None:
    """Return the 95 % interval of how far two tables of answers for the same samples are apart in a metric.

    None unless it is `monitor`, or the share of right answers.
    """
    if metric == task.monitor and (found := resampled_difference(task, one, other)):
        return found[1]
    if not task.answer or metric != task.share_right.replace(" ", "_"):
        return None
    right = [table["label"].to_numpy() == table[task.answer].to_numpy() for table in (one, other)]
    return difference_interval(int((right[0] & ~right[1]).sum()), int((right[1] & ~right[0]).sum()), len(one))


def compare(first: Run, second: Run) -> Comparison | None:
    """Compare two runs by their predictions.csv, matched by content, or by path if one has no digests.

    Their task must have answers that are right or wrong. Samples only match if their labels do. Returns None if the
    runs share no sample.
    """
    tables, column = _matched(first, second)
    keyed = [table["right"].set_axis(_keys(table, column)) for table in tables]
    right = pd.concat(keyed, axis=1, join="inner", keys=("first", "second"))
    if right.empty:
        return None
    one, other, n = right["first"], right["second"], len(right)
    only_first, only_second = int((one & ~other).sum()), int((other & ~one).sum())
    return Comparison(
        matched_by="content" if column == "digest" else "path",
        n=n,
        both_right=int((one & other).sum()),
        only_first=only_first,
        only_second=only_second,
        difference=(only_first - only_second) / n,
        ci95=difference_interval(only_first, only_second, n),
        p_value=mcnemar(only_first, only_second),
    )


def _matched(first: Run, second: Run, whole: bool = False) -> tuple[list[pd.DataFrame], str]:
    """Return the answers of both, and the column that tells which samples are the same."""
    tables = [answers(first, whole), answers(second, whole)]
    return tables, "digest" if all("digest" in table.columns for table in tables) else "path"


def mcnemar(only_first: int, only_second: int) -> float:
    """Return the two-sided p-value of McNemar's exact test, whose null hypothesis is that both are equally good."""
    discordant = only_first + only_second
    return float(stats.binomtest(only_first, discordant).pvalue) if discordant else 1.0


def answers(run: Run, whole: bool = False) -> pd.DataFrame:
    """Return the test samples of a run: path, label, and digest if its split.csv has all digests.

    With `whole` all other columns of predictions.csv too.

    The column `right` is added if answers of its task are right or wrong.
    """
    answer = task_class(run.task).answer
    table = run.table("predictions", None if whole else ["path", "label", *([answer] if answer else [])])
    table["label"] = table["label"].fillna("")
    if answer:
        table["right"] = table["label"] == table[answer]
    digests = run.table("split", ["path", "digest"], missing_ok=True)
    if digests.empty:
        return table
    known = table.merge(digests.drop_duplicates("path"), on="path", how="left")
    return known if known["digest"].fillna("").ne("").all() else table


def fingerprint(table: pd.DataFrame) -> str:
    """Return a digest of a table of `answers` that is equal for runs tested on the same samples."""
    column = "digest" if "digest" in table.columns else "path"
    content = [column, *sorted(zip(table[column], table["label"], strict=True))]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _keys(table: pd.DataFrame, column: str) -> pd.MultiIndex:
    """Return what is equal for the same sample in two tables: its column and label, and its number among duplicates."""
    ordered = table.sort_values("path", kind="stable")
    nth = ordered.groupby([column, "label"]).cumcount().reindex(table.index)
    return pd.MultiIndex.from_arrays([table[column], table["label"], nth])
