"""A multirun: what Hydra is about to launch, and afterwards a table of what its jobs left, wherever they ran."""

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
from ft_lightning.cli.known_errors import complain
from ft_lightning.runs.run import Run
from ft_lightning.system.console import interval, number, pairs, short, table
from ft_lightning.system.errors import UserError
from ft_lightning.tasks.registry import Score


class Plan(NamedTuple):
    """The jobs of a multirun, by their overrides in Hydra's order; none where another sweeper chooses as it goes."""

    sweep_dir: Path
    jobs: list[list[str]]


class Job(NamedTuple):
    """A job, as its directory tells."""

    folder: Path
    overrides: list[str]
    exit_code: int
    error: str

    @property
    def reason(self) -> str:
        """The first line of its error."""
        return self.error.partition("\n")[0]

    def without(self, common: set[str]) -> str:
        """Its overrides, but for those that all jobs have in common."""
        return " ".join(override for override in self.overrides if override not in common)

    def score(self, split: str) -> Score:
        """What it has reached; nothing if it has failed."""
        score = Run(self.folder).score(split)
        return score._replace(value=None, ci95=None) if self.exit_code else score


_plans: list[Plan] = []  # of this process: Hydra makes the callback, and hands it to nobody
_refused: list[Job] = []  # jobs of this process whose directory is another's, so that their outcome is not there


class KeepPlan(Callback):
    """Keeps in mind which jobs Hydra is about to launch; ends the command where their directory is not for them."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        sweep_dir = Path(config.hydra.sweep.dir)
        try:
            refuse_run_inside_dataset(sweep_dir, OmegaConf.select(config, "data.root"))
            if Run(sweep_dir).table_path("multirun").exists():
                raise UserError(
                    f"hydra.sweep.dir={sweep_dir} holds a multirun already, whose table would be lost: name another."
                )
        except UserError as error:  # which Hydra would make a warning of
            complain(error)
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
    except HydraException:  # the sweeper says it a moment later
        return []


def remember(folder: Path, overrides: list[str], exit_code: int, error: str) -> None:
    """Keep in mind how a job of this process ended, in case that its directory does not tell."""
    _refused.append(Job(folder, overrides, exit_code, error))


def wait_for_the_others(error: Exception) -> None:
    """Wait for the jobs that go on after a launcher has given up at the first that is lost."""
    if not _plans or not any(_begun(_plans[0].sweep_dir)):
        raise error
    complain(" ".join(str(error).split("\n", 2)[:2]))
    for frame, _ in traceback.walk_tb(error.__traceback__):
        for job in frame.f_locals.get("jobs", ()):  # submitit's, which nothing else hands out
            job.wait()


def conclude() -> int:
    """Print one row a job, best first, and write them with more columns to multirun.csv; returns the worst exit code.

    0 where there was no multirun.
    """
    import pandas as pd

    if not _plans:
        return 0
    plan = _plans.pop()
    jobs = _jobs(plan)
    if not jobs:
        complain(f"hydra.sweep.dir={plan.sweep_dir}: no job has begun.")
        return 1
    common = set.intersection(*(set(job.overrides) for job in jobs))
    path = Run(plan.sweep_dir).write("multirun", pd.DataFrame([_row(job, common) for job in jobs]))
    shown = []
    for job in sorted(jobs, key=lambda job: job.score("val").rank):
        val, test = job.score("val"), job.score("test")
        numbers = (number(val.value), number(test.value), interval(test.ci95))
        shown.append((job.folder.name, job.without(common), *numbers, job.reason))
    columns = [f"{split} {jobs[0].score(split).metric}".replace("_", " ") for split in ("val", "test")]
    table(["job", "overrides", *columns, "95 % interval", "error"], shown)
    pairs(table=str(short(path)))
    return max(job.exit_code for job in jobs)


def _jobs(plan: Plan) -> list[Job]:
    """Every job that was planned, or else that has begun; those of which nobody knows the outcome are lost."""
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
            case _ if run.command:  # or else it is a config.yaml that a logger wrote
                yield Job(folder, run.command[3:], 1, "lost")  # after python -m ft_lightning.train


def _row(job: Job, common: set[str]) -> dict[str, Any]:
    val, test = job.score("val"), job.score("test")
    low, high = test.ci95 or (None, None)
    return {
        "job": job.folder.name,
        "overrides": job.without(common),
        f"val_{val.metric}": val.value,
        f"test_{test.metric}": test.value,
        "test_low": low,
        "test_high": high,
        "exit_code": job.exit_code,
        "error": job.reason,
    }
