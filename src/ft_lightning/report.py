"""`python -m ft_lightning.report`: a run's page made again, or runs compared.

python -m ft_lightning.report run=outputs/train/<run>
python -m ft_lightning.report 'runs="outputs/train/*"'
"""

import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, ListConfig

from ft_lightning.cli import command
from ft_lightning.cli.job import Verb
from ft_lightning.runs.run import Run
from ft_lightning.system.errors import UserError, name_few, number_of, printable

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)

_SHOWN = 20  # runs on the terminal
_NEVER_SCORE = ("check", "export", "predict", "report")  # have no score even if they succeed


def report(cfg: DictConfig, run_dir: Path) -> dict[str, Any]:
    """Write report.html: of `run` into its own directory, or a comparison of `runs` into `run_dir`.

    Returns:
        page: path of report.html.
    """
    from ft_lightning.system.console import pairs, short

    if (cfg.run is None) == (cfg.runs is None):
        raise UserError(
            "run, runs: give one of them: run=outputs/train/RUN makes that run's page again, "
            "'runs=\"outputs/train/*\"' compares runs."
        )
    if cfg.run is not None:
        page = page_of_run(str(cfg.run))
    else:
        patterns = [str(pattern) for pattern in cfg.runs] if isinstance(cfg.runs, ListConfig) else [str(cfg.runs)]
        page = compare_runs(patterns, run_dir)
    pairs(page=str(short(page)))
    return {"page": str(page)}


def page_of_run(typed: str) -> Path:
    """Make a run's page again; `typed` is the run, its model directory, or the search that it won."""
    from ft_lightning.pages import check as check_page
    from ft_lightning.pages import run as run_page

    named = Run(Path(typed).expanduser())
    is_check = named.record_path("check").is_file()
    runs = [named] if is_check else Run.find([typed])[0]
    if not runs and Run(named.path.parent).finished:
        runs = [Run(named.path.parent)]
    if not runs:
        raise UserError(f"run={typed}: no finished run, which has a metrics.json with its score on test.")
    if len(runs) > 1:
        raise UserError(
            f"run={typed} stands for {number_of(len(runs), 'run')}: name one, or compare them: 'runs=\"{typed}\"'."
        )
    try:
        return check_page.write(named) if is_check else run_page.write(runs[0])
    except (AttributeError, LookupError, ValueError, TypeError, ArithmeticError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise UserError(f"run={typed}: its files are damaged, or of another version ({reason}).") from error


def compare_runs(patterns: Sequence[str], run_dir: Path) -> Path:
    """Write leaderboard.csv and the page of a comparison; return the page's path."""
    from ft_lightning.pages import comparison
    from ft_lightning.runs.leaderboard import leaderboard
    from ft_lightning.system.console import pairs, short

    runs, others = Run.find(patterns, but=run_dir.resolve())
    if not runs:
        raise UserError(
            f"runs={','.join(patterns)}: no finished run, which has a metrics.json with its score on test"
            + (f"; passed over: {name_few(others)}." if others else ", and nothing else there.")
        )
    # A glob matches the files of a multirun too, which are no runs.
    others = [place for place in others if not place.is_file() or str(place) in patterns]
    if others := [place for place in others if Run(place).verb not in _NEVER_SCORE]:
        count = len(runs) + len(others)
        log.warning("Passed over, as there is no finished run: %d of %d: %s", len(others), count, name_few(others))
    board, here = leaderboard(runs), Run(run_dir)
    told = comparison.write(here, board, others, ", ".join(patterns))
    show(board)
    pairs(**({"best two": told} if told else {}), table=str(short(here.table_path("leaderboard"))))
    return here.page


def show(board: "pd.DataFrame") -> None:
    """Print the first runs of a leaderboard."""
    from ft_lightning.pages.page import number
    from ft_lightning.runs.leaderboard import differences, short_names
    from ft_lightning.system.console import console, interval, lines

    decides, own = board.columns[1], next(name for name in board.columns if name.startswith("test "))
    scores = [decides, own]
    titles = ("val", "test") if board.columns[2] == own else (decides, own)
    rows = []
    several = len(set(board["test set"])) > 1
    named = board.assign(run=short_names(board["run"])).head(_SHOWN)
    for differs, (_, row) in zip(differences(board), named.iterrows(), strict=False):
        around = None if math.isnan(row["low"]) else (row["low"], row["high"])
        numbers = map(number, row[scores])
        letter = row["test set"] if several else ""
        rows.append((printable(row["run"]), *numbers, letter, printable(differs), interval(around)))
    lines(["run", *titles, "test set", "what differs", "95 % interval of test"], rows)
    if len(board) > _SHOWN:
        console.print(f"... {len(board) - _SHOWN:,} more\n")


VERB = Verb("report", report, libraries=("pandas", "matplotlib.figure"))

if __name__ == "__main__":
    command.run(VERB)
