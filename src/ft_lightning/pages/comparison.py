"""Writes report.html and leaderboard.csv of a comparison of runs."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from ft_lightning.pages import figures
from ft_lightning.pages.page import Section, number, write_page
from ft_lightning.runs.leaderboard import common_task, decisive, short_names, two_best
from ft_lightning.runs.paired import Comparison, Difference, compare, difference
from ft_lightning.runs.run import Run
from ft_lightning.system.errors import decimals, number_of
from ft_lightning.tasks.selection import share_best

_IN_FIGURE = 30  # runs


def write(run: Run, board: pd.DataFrame, others: Sequence[Path], typed: str) -> str:
    """Write both files; return the verdict on the two best runs, empty if there are not two.

    Args:
        board: from `leaderboard.leaderboard`.
        others: paths without a finished run.
        typed: the runs to compare, as the user typed them.
    """
    pair = _pair(board)
    sections = [_headline(board), *([pair] if pair else []), _table(board), *_passed_over(others)]
    run.write("leaderboard", board)
    write_page(run.page, f"{number_of(len(board), 'run')} compared", typed, sections)
    return pair.text if pair else ""


def _headline(board: pd.DataFrame) -> Section:
    best, sets, metric = board.iloc[0], board["test set"].replace("", pd.NA).nunique(), _metric(board)
    own, runs = _own(board), [Run(run) for run in board["run"]]
    val, test = best[f"val {metric}"], best[f"test {own}"]
    by = f"{metric} on val" if pd.notna(val) else f"{own} on test, as no run has one on val"
    ties = share_best(run.score("val", decisive(runs)).rank for run in runs)
    text = f"By {by}." + (" Scores on different test sets are not comparable." if sets > 1 else "")
    text += f" {ties} of {len(board)} runs share the best {metric} on val: the lower loss on val decides." * (ties > 1)
    facts = {
        "best run": best["run"],
        f"{metric} on val": number(val),
        f"{own} on test": f"{number(test)} ({number(best['low'])} to {number(best['high'])})",
        "runs": f"{len(board):,}",
        "test sets": f"{sets:,}",
    }
    return Section("Best", text, {name: value for name, value in facts.items() if value})


def _pair(board: pd.DataFrame) -> Section | None:
    runs = two_best(board)
    if len(runs) < 2:
        return None
    task, (one, other) = common_task(map(Run, runs)), short_names(runs)
    found = difference(Run(runs[0]), Run(runs[1])) or (compare(Run(runs[0]), Run(runs[1])) if task.answer else None)
    if found is None:
        return _unpaired(one, other) if task.answer else None
    if isinstance(found, Difference):
        text, facts = _apart(found, one, other, _own(board))
    else:
        text, facts = _verdict(found, one, other, task.share_right), _counts(found)
    chosen = board[board["run"].isin(runs)]
    letter, *others = chosen["test set"].unique()
    if not others and runs != board["run"].head(2).tolist():
        text = f"The first two of those with test set {letter}. {text}"
    if chosen[f"val {_metric(board)}"].isna().any() and len(board) > 2:
        text += f" They were chosen by their {_own(board)} on test, as one has none on val: this flatters the first."
    return Section("The two best", text, facts)


def _unpaired(first: str, second: str) -> Section:
    text = (
        f"{first} and {second} share no test sample: no paired test can compare them, and scores on different samples "
        "differ for that reason alone."
    )
    return Section("The two best", text)


def _apart(found: Difference, first: str, second: str, metric: str) -> tuple[str, dict[str, str]]:
    """Say how far two runs are apart in their metric."""
    (low, high), size = found.ci95, abs(found.difference)
    than = f"{decimals(size)} {'lower' if found.difference < 0 else 'higher'} than" if size else "the same as"
    bounds = f"{decimals(low, '+')} to {decimals(high, '+')}"
    text = (
        f"On {found.n:,} test samples of both, matched by {found.matched_by}, the {metric} of {first} is {than} that "
        f"of {second} (95 % interval of the difference {bounds}, by a bootstrap over these samples)."
    )
    if size and low <= 0 <= high:
        text += " Other samples could turn that around."
    facts = {"difference": f"{decimals(found.difference, '+')} ({bounds})", "samples of both": f"{found.n:,}"}
    return text, facts


def _counts(comparison: Comparison) -> dict[str, str]:
    low, high = comparison.ci95
    return {
        "difference": f"{comparison.difference:+.4f} ({low:+.4f} to {high:+.4f})",
        "McNemar's exact p": number(comparison.p_value),
        "samples of both": f"{comparison.n:,}",
        "both right": f"{comparison.both_right:,}",
        "only the first right": f"{comparison.only_first:,}",
        "only the second right": f"{comparison.only_second:,}",
    }


def _metric(board: pd.DataFrame) -> str:
    """Return the metric that orders the runs, as in the board's header."""
    return str(board.columns[1]).removeprefix("val ")


def _own(board: pd.DataFrame) -> str:
    """Return the metric of the task, as in the board's header; its column of test is the first one."""
    return next(str(name) for name in board.columns if str(name).startswith("test ")).removeprefix("test ")


def _verdict(comparison: Comparison, first: str, second: str, share_right: str) -> str:
    low, high = comparison.ci95
    than = f"{abs(comparison.difference):.4f} {'lower' if comparison.difference < 0 else 'higher'} than"
    if not comparison.difference:
        than = "the same as"
    share = f"{comparison.p_value:.1%}" if comparison.p_value >= 0.001 else "less than 0.1%"
    return (
        f"On {number_of(comparison.n, 'test sample')} of both, matched by {comparison.matched_by}, the {share_right} "
        f"of {first} is {than} that of {second} (95 % interval of the difference {low:+.4f} to {high:+.4f}): "
        f"{number_of(comparison.only_first, 'sample')} that only the first has right, {comparison.only_second:,} that "
        f"only the second. Were both equally good, chance would part them this far in {share} of such test sets "
        f"(McNemar's exact test, p = {comparison.p_value:.2g})."
    )


def _table(board: pd.DataFrame) -> Section:
    text = (
        f"By {_metric(board)} on val, equal ones by the lower loss on val, never by test, which would flatter the "
        "chosen run. Runs with the same letter were tested on the same samples; different letters cannot be compared. "
        "Click on a column to sort by it."
    )
    if (board["trained on"] > 0).any():
        text += " The column trained on counts test samples that the model was trained on: they flatter its numbers."
    board = board.assign(run=short_names(board["run"]))
    if len(board) > _IN_FIGURE:
        text += f" The figure shows the first {_IN_FIGURE}."
    figure = figures.intervals_of_runs(board.head(_IN_FIGURE), _own(board))
    return Section("Leaderboard", text, figures=[figure], table=board.dropna(axis=1, how="all"))


def _passed_over(others: Sequence[Path]) -> list[Section]:
    if not others:
        return []
    text = "Paths without a finished run: it failed, is still going on, or is something else."
    return [Section("Passed over", text, table=pd.DataFrame({"place": [str(place) for place in others]}))]
