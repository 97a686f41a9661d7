"""A multirun: the jobs that Hydra launches, and at the end a table of their outcomes, wherever they ran."""

import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from ft_lightning.cli.job import refuse_run_inside_dataset
from ft_lightning.cli.known_errors import print_error
from ft_lightning.runs.run import Run
from ft_lightning.system.console import interval, number, pairs, short, table
from ft_lightning.system.errors import UserError
from ft_lightning.tasks.registry import Score


class Plan(NamedTuple):
    """The overrides of a multirun's jobs in Hydra's order; none if another sweeper chooses them one by one."""

    sweep_dir: Path
    jobs: list[list[str]]


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
        return " ".join(override for override in self.overrides if override not in common)

    def score(self, split: str) -> Score:
        """Return its score; an empty one if the job failed."""
        score = Run(self.folder).score(split)
        return score._replace(value=None, ci95=None) if self.exit_code else score


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
    """Wait for the remaining jobs after a launcher has given up at the first lost one."""
    if not _plans or not any(_begun(_plans[0].sweep_dir)):
        raise error
    print_error(" ".join(str(error).split("\n", 2)[:2]))
    for frame, _ in traceback.walk_tb(error.__traceback__):
        for job in frame.f_locals.get("jobs", ()):  # submitit's, which are reachable in no other way
            job.wait()


def conclude() -> int:
    """Print one row a job, best first, and write them with more columns to multirun.csv.

    Returns the worst exit code; 0 if there was no multirun.
    """
    import pandas as pd

    if not _plans:
        return 0
    plan = _plans.pop()
    jobs = _jobs(plan)
    if not jobs:
        print_error(f"hydra.sweep.dir={plan.sweep_dir}: no job has begun.")
        return 1
    common = set.intersection(*(set(job.overrides) for job in jobs))
    metric = next((job for job in jobs if job.score("val").value is not None), jobs[0]).score("val").metric
    path = Run(plan.sweep_dir).write("multirun", pd.DataFrame([_row(job, common, metric) for job in jobs]))
    shown = []
    for job in sorted(jobs, key=lambda job: job.score("val").rank):
        val, test = job.score("val"), job.score("test")
        numbers = (number(val.value), number(test.value), interval(test.ci95))
        shown.append((job.folder.name, job.without(common), *numbers, job.reason))
    columns = [f"{split} {metric}".replace("_", " ") for split in ("val", "test")]
    table(["job", "overrides", *columns, "95 % interval", "error"], shown)
    pairs(table=str(short(path)))
    return max(job.exit_code for job in jobs)


def _jobs(plan: Plan) -> list[Job]:
    """Return the planned jobs, or, without a plan, those that started; a job without an outcome is lost."""
    begun = sorted(_begun(plan.sweep_dir), key=lambda job: (len(job.folder.name), job.folder))
    jobs, known = [], [*begun, *_refused]
    for position, overrides in enumerate(plan.jobs):
        own = next((job for job in known if job.overrides == overrides), None)
        if own:
            known.remove(own)
        jobs.append(own or Job(plan.sweep_dir / str(position), overrides, 1, "lost"))
    return jobs or begun


def _begun(sweep_dir: Path) -> Iterator[Job]:
    here = Run(sweep_dir)
    names = (here.config_file.name, here.record_path("outcome").name)
    for folder in {path.parent for name in names for path in sweep_dir.rglob(name)}:
        run = Run(folder)
        match run.outcome:
            case {"exit_code": int(code), "overrides": list(typed), "error": str(error)}:
                yield Job(folder, [str(override) for override in typed], code, error)
            case _ if run.command:  # else a logger wrote this config.yaml
                yield Job(folder, run.command[3:], 1, "lost")  # after python -m ft_lightning.train


def _row(job: Job, common: set[str], metric: str) -> dict[str, Any]:
    """Return a job's row of multirun.csv; `metric` stands for a score that a failed job does not have."""
    val, test = job.score("val"), job.score("test")
    metric = metric if val.value is None else val.metric
    low, high = test.ci95 or (None, None)
    return {
        "job": job.folder.name,
        "overrides": job.without(common),
        f"val_{metric}": val.value,
        f"test_{metric}": test.value,
        "test_low": low,
        "test_high": high,
        "exit_code": job.exit_code,
        "error": job.reason,
    }
