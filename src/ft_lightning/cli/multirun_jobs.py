"""The jobs of a multirun, read from their directories, and what is said of them: their table, the winner, a page."""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ft_lightning.runs.run import Run
from ft_lightning.system.console import interval, lines, number, short
from ft_lightning.system.errors import UserError, printable
from ft_lightning.tasks.registry import Score
from ft_lightning.tasks.selection import share_best

log = logging.getLogger(__name__)


class Job(NamedTuple):
    """A job, read from its directory."""

    folder: Path
    overrides: list[str]
    exit_code: int
    error: str

    @property
    def reason(self) -> str:
        """The first line of its error."""
        return self.error.partition("\n")[0]

    def without(self, common: set[str]) -> str:
        """Return its overrides except those common to all jobs."""
        return without(self.overrides, common)

    def score(self, split: str, metric: str | None = None) -> Score:
        """Return its score; an empty one if the job failed."""
        score = Run(self.folder).score(split, metric)
        return score._replace(value=None, ci95=None) if self.exit_code else score


def begun_jobs(sweep_dir: Path) -> Iterator[Job]:
    here = Run(sweep_dir)
    names = (here.config_file.name, here.record_path("outcome").name)
    for folder in {path.parent for name in names for path in sweep_dir.rglob(name)}:
        run = Run(folder)
        match run.outcome:
            case {"exit_code": int(code), "overrides": list(typed), "error": str(error)}:
                yield Job(folder, [str(override) for override in typed], code, error)
            case _ if run.command:  # else a logger wrote this config.yaml
                yield Job(folder, run.command[3:], 1, "lost")  # after python -m ft_lightning.train


def table_row(job: Job, common: set[str], own: str, decides: str | None) -> dict[str, Any]:
    """Return a job's row of multirun.csv.

    Args:
        own: the task's metric, which a failed job does not have.
        decides: the metric on val, from `decisive`.
    """
    val, test = job.score("val"), job.score("test")
    metric = own if val.value is None else val.metric
    low, high = test.ci95 or (None, None)
    return {
        "job": job.folder.name,
        "overrides": job.without(common),
        **({f"val_{decides}": job.score("val", decides).value} if decides else {}),
        f"val_{metric}": val.value,
        f"test_{metric}": test.value,
        "test_low": low,
        "test_high": high,
        "exit_code": job.exit_code,
        "error": job.reason,
    }


def print_jobs(ranked: Sequence[Job], common: set[str], decides: str | None) -> None:
    """Print one row a job, the winner marked; the numbers on test only where val chooses none, as in evaluations."""
    chosen = ranked[0].score("val", decides).value is not None
    split, metric = ("val", decides) if chosen else ("test", None)
    columns = ["", "job", "overrides", f"{split} {ranked[0].score(split, metric).title}"]
    rows = []
    for position, job in enumerate(ranked):
        score = job.score(split, metric)
        known = "" if score.value is None else number(score.value)
        mark = "best" if chosen and position == 0 else ""
        around = "" if chosen else interval(score.ci95)
        rows.append((mark, job.folder.name, printable(job.without(common)), known, around, printable(job.reason)))
    lines([*columns, "95 % interval", "error"], rows)


def winner(ranked: Sequence[Job], common: set[str], decides: str | None) -> dict[str, str]:
    """Return what is said of the winner, the only job whose numbers on test are shown; nothing if there is none."""
    best, scores = ranked[0], [job.score("val", decides) for job in ranked]
    if scores[0].value is None:
        return {}
    tied, valued = share_best(score.rank for score in scores), sum(score.value is not None for score in scores)
    test = best.score("test")
    ties = f"{tied} of {valued} share the best val {scores[0].title}: the lower loss on val decides"
    return {
        **({"ties": ties} if tied > 1 else {}),
        "best": " ".join(filter(None, [f"job {best.folder.name}", printable(best.without(common))])),
        "test": ", 95 % ".join(filter(None, [f"{test.title} {number(test.value)}", interval(test.ci95)])),
        "run": str(short(best.folder)),
    }


def compared(runs: list[Run], here: Run) -> Path | None:
    """Write leaderboard.csv and the page that compares the jobs; None if there are not two, or a fault prevents it."""
    from ft_lightning.pages import comparison
    from ft_lightning.runs.leaderboard import leaderboard

    finished = [run for run in runs if run.finished]
    if len(finished) < 2:
        return None
    try:
        comparison.write(here, leaderboard(finished), [], short(here.path).as_posix())
    except Exception as error:  # the jobs have their results
        log.warning("There is no page that compares the jobs: %s", error, exc_info=not isinstance(error, UserError))
        return None
    return here.page


def without(overrides: Sequence[str], common: set[str]) -> str:
    return " ".join(override for override in overrides if override not in common)
