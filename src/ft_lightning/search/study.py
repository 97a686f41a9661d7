"""An Optuna study shared by any number of processes, which may come and go: exactly as many trials as wanted.

A trial counts if it has an outcome: a value, pruned, or failed by an error of its own. A trial whose process died has
none, and another trial replaces it.
"""

import math
import os
import platform
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import optuna
import psutil
from optuna.exceptions import ExperimentalWarning, UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import URL
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError

from ft_lightning.runs.config import without_password
from ft_lightning.runs.run import Run
from ft_lightning.search.space import Space, grid
from ft_lightning.search.storage import WholeStorage
from ft_lightning.system.errors import UserError
from ft_lightning.system.files import claimed
from ft_lightning.system.seeds import seed_of

_HEARTBEAT_S = 60  # a trial of another machine is dead after twice that without a heartbeat
_UNCLAIMED_S = 60  # maximum time between a trial's start and the record of its process
_POLL_S = 1

_PENDING = (TrialState.WAITING, TrialState.RUNNING)
_DEFAULTS = "defaults"  # a trial's attribute

Objective = Callable[[optuna.Trial], float]
SAMPLERS = ("tpe", "random", "grid")


@dataclass(frozen=True)
class Plan:
    """The space, sampler and length of a search.

    Args:
        trials: total number of trials with an outcome; None for every combination of a grid.
        prune_after: epochs before a trial may be pruned because others were better at that point; None: never.
        defaults: the first trial has the defaults, of which the space may hold only these; None: there is none such, as
            in a grid.
    """

    space: Space
    trials: int | None
    sampler: str
    prune_after: int | None
    direction: Literal["minimize", "maximize"]
    seed: int
    defaults: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        if self.sampler not in SAMPLERS:
            raise UserError(f"tune.sampler={self.sampler} is unknown: use one of {', '.join(SAMPLERS)}.")
        for name, least in (("trials", 1), ("prune_after", 0)):
            value = getattr(self, name)
            if value is not None and not (type(value) is int and value >= least):
                raise UserError(f"tune.{name}={value}: use a whole number from {least}, or null.")
        if self.trials is None and self.sampler != "grid":
            raise UserError("tune.trials=null: a search without end; give a number, or tune.sampler=grid.")

    @property
    def combinations(self) -> list[dict[str, Any]]:
        """The wanted combinations of a grid; none for any other sampler."""
        return grid(self.space)[: self.trials] if self.sampler == "grid" else []

    @property
    def wanted(self) -> int:
        """Total number of trials with an outcome."""
        return len(self.combinations) if self.sampler == "grid" else self.trials or 0

    def searches(self, *names: str) -> bool:
        """Return whether these keys or any below them are searched."""
        return any(key.partition(".")[0] in names for key in self.space)

    def sampler_for(self, *names: object) -> optuna.samplers.BaseSampler:
        """Make a sampler whose random numbers depend on the seed and these names."""
        sampler = optuna.samplers.TPESampler if self.sampler == "tpe" else optuna.samplers.RandomSampler
        return sampler(seed=seed_of(self.seed, "trial", *names) % 2**32)


class TrialFailed(Exception):  # noqa: N818, it is an outcome
    """A trial failed by an error of its own, which is the message."""


class _Surplus(Exception):  # noqa: N818
    """Another process started the last wanted trial first."""


def open_study(folder: Path, url: str | None, name: str, plan: Plan) -> optuna.Study:
    """Open or create the study of that name, in a file of the folder or at an Optuna URL."""
    place = url or URL.create("sqlite", database=str(Run(folder).study)).render_as_string()
    pruners, after = optuna.pruners, plan.prune_after
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with claimed(folder, wait=True), warnings.catch_warnings():  # tables may be created only once
            warnings.simplefilter("ignore", ExperimentalWarning)  # of heartbeats
            storage = WholeStorage(place, heartbeat_interval=_HEARTBEAT_S)
            return optuna.create_study(
                storage=storage,
                study_name=name,
                direction=plan.direction,
                pruner=pruners.NopPruner() if after is None else pruners.MedianPruner(n_warmup_steps=after),
                load_if_exists=True,
            )
    except (ArgumentError, DBAPIError, NoSuchModuleError, ImportError) as error:
        raise UserError(f"tune.storage={without_password(place)}: {str(error).splitlines()[0]}.") from error


def work(
    study: optuna.Study,
    plan: Plan,
    objective: Objective,
    folder: Path,
    watch: Callable[[list[FrozenTrial]], None],
) -> None:
    """Run trials until the wanted number has an outcome, together with other processes that do the same.

    Args:
        objective: trial -> value; may raise `TrialFailed` or `optuna.TrialPruned`; any other exception ends the work.
        watch: called with all trials before and after each.
    """
    while True:
        fail_dead_trials(study)
        with claimed(folder, wait=True):
            if plan.combinations:
                _enqueue_missing(study, plan.combinations)
            elif plan.defaults is not None:
                _enqueue_defaults(study, plan.defaults, plan.wanted)
        trials = study.get_trials(deepcopy=False)
        watch(trials)
        done = sum(map(has_outcome, trials))
        running = sum(trial.state == TrialState.RUNNING for trial in trials)
        if done >= plan.wanted:
            return
        if done + running >= plan.wanted:  # wait: if a process dies, another one has to run its trial
            time.sleep(_POLL_S)
            continue
        # A new sampler with the same seed would repeat the trials of an earlier process.
        study.sampler = plan.sampler_for(len(trials), *([os.getpid()] if running else []))
        _run_one(study, plan, objective)


def _run_one(study: optuna.Study, plan: Plan, objective: Objective) -> None:
    raised: list[BaseException] = []

    def attempt(trial: optuna.Trial) -> float:
        try:
            return _claim_and_run(study, trial, objective, plan)
        except (TrialFailed, _Surplus, optuna.TrialPruned):
            raise
        except BaseException as error:
            raised.append(error)
            raise

    try:
        study.optimize(attempt, n_trials=1, catch=(TrialFailed, _Surplus))
    except (UpdateFinishedTrialError, ValueError, AssertionError):
        # If the trial itself did not raise, Optuna refused its result: this process slept so long that another one
        # marked the trial as dead.
        if raised and not isinstance(raised[0], UpdateFinishedTrialError):
            raise


def _enqueue_missing(study: optuna.Study, combinations: list[dict[str, Any]]) -> None:
    """Enqueue every combination that is not yet waiting, running or done."""
    trials = study.get_trials(deepcopy=False)
    there = [
        trial.system_attrs.get("fixed_params") for trial in trials if trial.state in _PENDING or has_outcome(trial)
    ]
    for values in combinations:
        if values not in there:
            study.enqueue_trial(values)


def _enqueue_defaults(study: optuna.Study, values: dict[str, Any], wanted: int) -> None:
    """Enqueue the trial of the defaults as the first one, and again if its process has died."""
    trials = study.get_trials(deepcopy=False)
    counting = [trial for trial in trials if trial.state in _PENDING or has_outcome(trial)]
    begun_without = counting and not any(map(is_of_defaults, trials))  # by an earlier version
    if not begun_without and not any(map(is_of_defaults, counting)) and len(counting) < wanted:
        study.enqueue_trial(values, user_attrs={_DEFAULTS: True})


def is_of_defaults(trial: FrozenTrial | optuna.Trial) -> bool:
    """Return whether a trial is the one of the defaults, which the space need not hold."""
    return _DEFAULTS in trial.user_attrs


def _claim_and_run(study: optuna.Study, trial: optuna.Trial, objective: Objective, plan: Plan) -> float:
    me = psutil.Process()
    for name, value in {"host": platform.node(), "pid": me.pid, "started": me.create_time()}.items():
        trial.set_user_attr(name, value)
    before = [other for other in study.get_trials(deepcopy=False) if other.number < trial.number]
    if sum(has_outcome(other) or other.state == TrialState.RUNNING for other in before) >= plan.wanted:
        raise _Surplus
    study.sampler = plan.sampler_for(trial.number)  # two processes may have started at the same moment
    try:
        value = objective(trial)
        if not math.isfinite(value):
            raise TrialFailed(f"its value is {value}")
    except TrialFailed as reason:
        trial.set_user_attr("error", str(reason))
        raise
    return value


def has_outcome(trial: FrozenTrial) -> bool:
    return trial.state in (TrialState.COMPLETE, TrialState.PRUNED) or "error" in trial.user_attrs


def fail_dead_trials(study: optuna.Study) -> None:
    """Mark trials as failed whose process is gone: on this machine at once, elsewhere by missing heartbeats."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        optuna.storages.fail_stale_trials(study)
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        if _is_dead(trial):
            try:
                study.tell(trial.number, state=TrialState.FAIL)
            except (ValueError, UpdateFinishedTrialError):  # another process was faster
                continue


def _is_dead(trial: FrozenTrial) -> bool:
    known = trial.user_attrs
    if "started" not in known:
        begun = trial.datetime_start.timestamp() if trial.datetime_start else 0.0
        return time.time() - begun > _UNCLAIMED_S
    if known["host"] != platform.node():
        return False
    try:
        process = psutil.Process(known["pid"])
        return process.status() == psutil.STATUS_ZOMBIE or abs(process.create_time() - known["started"]) > 1
    except psutil.NoSuchProcess:
        return True
