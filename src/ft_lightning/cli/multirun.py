"""A multirun: a line for each job that Hydra launches, and at the end their outcomes, wherever they ran."""

import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from ft_lightning.cli.directories import refuse_run_inside_dataset
from ft_lightning.cli.ending import predict_line
from ft_lightning.cli.job import Verb
from ft_lightning.cli.known_errors import print_error
from ft_lightning.cli.multirun_jobs import Job, begun_jobs, compared, print_jobs, table_row, winner, without
from ft_lightning.runs.run import Run
from ft_lightning.system.console import console, number, pairs, short
from ft_lightning.system.errors import UserError, printable
from ft_lightning.system.one_row import one_row


class Plan(NamedTuple):
    """The overrides of a multirun's jobs in Hydra's order; none if another sweeper chooses them one by one."""

    sweep_dir: Path
    jobs: list[list[str]]

    @property
    def common(self) -> set[str]:
        """The overrides that all jobs have, if there are several."""
        return set.intersection(*map(set, self.jobs)) if len(self.jobs) > 1 else set()


_WIDEST = 60  # overrides, for which the lines of jobs are aligned
_plans: list[Plan] = []  # of this process; global, because Hydra creates the callback and gives no access to it
_refused: list[Job] = []  # jobs of this process whose directory belongs to another run and holds no outcome of theirs


class KeepPlan(Callback):
    """Records the jobs that Hydra is about to launch; ends the command if their directory cannot be used."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        sweep_dir = Path(config.hydra.sweep.dir)
        try:
            refuse_run_inside_dataset(sweep_dir, OmegaConf.select(config, "data.root"))
            if Run(sweep_dir).table_path("multirun").exists():
                raise UserError(
                    f"hydra.sweep.dir={sweep_dir} holds a multirun already, whose table would be lost: name another."
                )
        except UserError as error:  # Hydra would turn it into a warning
            print_error(error)
            sys.exit(error.exit_code)
        _plans[:] = [Plan(sweep_dir, _planned(config))]
        _refused.clear()
        number_of_jobs = {"jobs": f"{len(_plans[0].jobs):,}"} if _plans[0].jobs else {}
        pairs(**number_of_jobs, multirun=str(short(sweep_dir)))


def _planned(config: DictConfig) -> list[list[str]]:
    if not config.hydra.sweeper._target_.endswith(f".{BasicSweeper.__name__}"):
        return []
    typed: Any = OmegaConf.to_container(config.hydra.overrides.task, resolve=False)
    words = [*(f"{key}={value}" for key, value in (config.hydra.sweeper.params or {}).items()), *typed]
    try:
        overrides = OverridesParser.create(GlobalHydra.instance().config_loader()).parse_overrides(words)
        return [job for batch in BasicSweeper.split_arguments(overrides, None) for job in batch]
    except HydraException:  # the sweeper raises it a moment later
        return []


def record_outcome(folder: Path, overrides: list[str], exit_code: int, error: str) -> None:
    """Record how a job of this process ended, in case its directory holds no outcome."""
    _refused.append(Job(folder, overrides, exit_code, error))


def wait_for_other_jobs(error: Exception) -> None:
    """Wait for the remaining jobs after a launcher has given up at the first lost one; else raise the error."""
    if not _plans or not any(begun_jobs(_plans[0].sweep_dir)):
        raise error
    print_error(" ".join(str(error).split("\n", 2)[:2]))
    for frame, _ in traceback.walk_tb(error.__traceback__):
        for job in frame.f_locals.get("jobs", ()):  # submitit's, which are reachable in no other way
            job.wait()


@contextmanager
def one_line(verb: Verb, folder: Path, overrides: list[str]) -> Iterator[None]:
    """Show a job that scores by one line: what it tries, its value on val, its time; log.txt has what it prints.

    A job of another command, or of a launcher that runs it in another process, is shown as if it were alone.
    """
    if not (_plans and verb.scores):
        yield
        return
    common, begun = _plans[0].common, time.monotonic()
    jobs = _plans[0].jobs or [overrides]
    widths = len(str(len(jobs) - 1)), min(_WIDEST, max(len(without(job, common)) for job in jobs))
    tried = f"{printable(without(overrides, common)):{widths[1]}}" if widths[1] else ""
    head = "  ".join(filter(None, [f"job {folder.name:>{widths[0]}}", tried]))
    with one_row(head):
        yield
    refused, run = [job.exit_code for job in _refused if job.folder == folder], Run(folder)
    val = run.score("val", run.monitored)
    code = refused[0] if refused else run.outcome.get("exit_code", 1)
    known = "" if val.value is None else f"val {val.title} {number(val.value)}"
    said = f"exit code {code}" if code else known
    console.print("  ".join(filter(None, [head, said, f"{time.monotonic() - begun:.0f} s"])), soft_wrap=True)


def conclude() -> int:
    """Print one row a job, best on val first, and the score of that one on test; write multirun.csv and a page.

    Returns the worst exit code; 0 if there was no multirun.
    """
    import pandas as pd

    from ft_lightning.runs.leaderboard import decisive

    if not _plans:
        return 0
    plan = _plans.pop()
    jobs = _jobs(plan)
    if not jobs:
        print_error(f"hydra.sweep.dir={plan.sweep_dir}: no job has begun.")
        return 1
    common = set.intersection(*(set(job.overrides) for job in jobs))
    metric = next((job for job in jobs if job.score("val").value is not None), jobs[0]).score("val").metric
    decides = decisive(Run(job.folder) for job in jobs if not job.exit_code)
    decides = None if decides == metric else decides
    rows = [table_row(job, common, metric, decides) for job in jobs]
    path = Run(plan.sweep_dir).write("multirun", pd.DataFrame(rows))
    ranked = sorted(jobs, key=lambda job: job.score("val", decides).rank)
    console.print()
    print_jobs(ranked, common, decides)
    page = compared([Run(job.folder) for job in jobs if not job.exit_code], Run(plan.sweep_dir))
    pairs(**winner(ranked, common, decides), table=str(short(path)), **({"page": str(short(page))} if page else {}))
    if ranked[0].score("val", decides).value is not None:
        console.print(predict_line(Run(ranked[0].folder)) + "\n", soft_wrap=True)
    return max(job.exit_code for job in jobs)


def _jobs(plan: Plan) -> list[Job]:
    """Return the planned jobs, or, without a plan, those that started; a job without an outcome is lost."""
    begun = sorted(begun_jobs(plan.sweep_dir), key=lambda job: (len(job.folder.name), job.folder))
    jobs, known = [], [*begun, *_refused]
    for position, overrides in enumerate(plan.jobs):
        own = next((job for job in known if job.overrides == overrides), None)
        if own:
            known.remove(own)
        jobs.append(own or Job(plan.sweep_dir / str(position), overrides, 1, "lost"))
    return jobs or begun
