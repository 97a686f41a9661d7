"""Runs one job of a command: checks its directory, writes config.yaml and outcome.json, translates its errors."""

import signal
from collections.abc import Callable
from contextlib import nullcontext, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import Any, NamedTuple

from omegaconf import DictConfig, OmegaConf

from ft_lightning.cli.checks import check_config
from ft_lightning.cli.compose import PACKAGE
from ft_lightning.cli.directories import (
    refuse_cache_inside_dataset,
    refuse_run_inside_dataset,
    refuse_used_directory,
)
from ft_lightning.cli.known_errors import known_error, refusal_of_a_typed_value
from ft_lightning.cli.loading import load
from ft_lightning.cli.processes import FailedElsewhereError, caused_elsewhere
from ft_lightning.data.problems import DataProblemsError, write_problems
from ft_lightning.runs import config as run_config
from ft_lightning.runs import resume
from ft_lightning.runs.run import Run
from ft_lightning.system.distributed import is_main_process
from ft_lightning.system.errors import NumericalError, UserError
from ft_lightning.system.files import claimed
from ft_lightning.system.streams import drop_log, log_to

EXPECTED_ERRORS = (UserError, NumericalError, FailedElsewhereError)  # no traceback; each has an exit code


class Verb(NamedTuple):
    """A command.

    Args:
        job: (config, run directory) -> results.
        distributed: whether several processes, started by torchrun or srun, can do the job together.
        shared: whether several processes may work in one run directory, at once or later; the job coordinates them.
        scores: whether its result is metrics.json, so that a line is enough for a job of a multirun.
        libraries: those that take long to import, which the job needs.
    """

    name: str
    job: Callable[[DictConfig, Path], dict[str, Any]]
    distributed: bool = False
    shared: bool = False
    scores: bool = False
    libraries: tuple[str, ...] = ()

    @property
    def is_the_process(self) -> bool:
        """Whether this process is the command: not a program or a notebook that calls `ft_lightning.run`."""
        return self.job.__module__ == "__main__"


_typed: ContextVar[list[str] | None] = ContextVar("_typed", default=None)
_in_multirun: ContextVar[bool] = ContextVar("_in_multirun", default=False)


def typed_overrides() -> list[str] | None:
    """Return the overrides of the running job; None outside of a job.

    References to the environment stay unresolved, so that their values reach no file or table.
    """
    return _typed.get()


def in_multirun() -> bool:
    """Return whether the running job belongs to a multirun of ours; Hydra's state may be another program's."""
    return _in_multirun.get()


def carry_out(verb: Verb, cfg: DictConfig, run_dir: Path, typed: list[str], multirun: bool = False) -> None:
    """Run a command's job in a run directory, and write config.yaml and outcome.json there.

    Args:
        typed: the overrides that made `cfg`.
        multirun: whether the job belongs to a multirun.
    """
    owner = is_main_process() and not verb.shared
    tokens = _typed.set(typed), _in_multirun.set(multirun)
    try:
        with claimed(run_dir) if owner else nullcontext():
            _run_job(verb, cfg, run_dir, typed, owner)
    except BaseException as error:
        translated = _translated(error)
        if translated is error:
            raise
        raise translated from error
    finally:
        _typed.reset(tokens[0])
        _in_multirun.reset(tokens[1])


def _run_job(verb: Verb, cfg: DictConfig, run_dir: Path, typed: list[str], owner: bool) -> None:
    """Run the job in a directory that no other process uses; translate its errors for the user."""
    writes_outcome = owner or (is_main_process() and in_multirun())
    begun, goes_on, was_empty = False, False, writes_outcome and _is_new(Run(run_dir))
    before = _written(Run(run_dir).config_file)
    try:
        if OmegaConf.select(cfg, "resume") and not verb.shared:
            cfg = resume.config_of(run_dir, cfg, typed)
        root = OmegaConf.select(cfg, "data.root")
        refuse_run_inside_dataset(run_dir, root)
        if owner and _was_cut_off(cfg, run_dir):
            cfg.resume = str(run_dir)
        goes_on = bool(OmegaConf.select(cfg, "resume"))
        if owner and not goes_on:
            refuse_used_directory(run_dir)
        _check(cfg, typed, verb)
        begun = True
        if root != (root := OmegaConf.select(cfg, "data.root")):  # a folder whose name YAML reads as a number
            refuse_run_inside_dataset(run_dir, root)
        refuse_cache_inside_dataset(OmegaConf.select(cfg, "cache.dir"), root)
        if owner or (is_main_process() and verb.shared):
            log_to(Run(run_dir).log)
        if owner and not goes_on:
            run_config.write_config(cfg, run_dir, ["python", "-m", f"{PACKAGE.name}.{verb.name}", *typed])
        load(verb.libraries, verb.is_the_process)
        verb.job(cfg, run_dir)
    except BaseException as error:
        translated = _translated(error)
        if begun and isinstance(translated, DataProblemsError) and is_main_process():
            write_problems(translated.problems, Run(run_dir).record_path("problems"))
        # Never in another run's directory; a run that refuses to resume with these overrides keeps its outcome.
        code = _exit_code(translated)
        refused = code == UserError.exit_code
        went_on = goes_on and _written(Run(run_dir).config_file) != before  # train writes it when it goes on
        if goes_on and refused and not went_on:
            drop_log()
        own_directory = (
            not (goes_on and refused and not went_on) if begun else was_empty and refused and run_dir.is_dir()
        )
        if writes_outcome and own_directory and code is not None:
            with suppress(OSError):  # the first error counts
                message = str(translated) if isinstance(translated, EXPECTED_ERRORS) else repr(translated)
                _write_outcome(run_dir, typed, code, message)
        if translated is error:
            raise
        raise translated from error
    if writes_outcome:
        _write_outcome(run_dir, typed, 0, "")


def _check(cfg: DictConfig, typed: list[str], verb: Verb) -> None:
    if "model" in cfg:  # the check imports what a config names, to read its parameters
        load(verb.libraries, verb.is_the_process)
    check_config(cfg, typed, verb.name, verb.job.__module__, in_multirun())


def _write_outcome(run_dir: Path, typed: list[str], exit_code: int, error: str) -> None:
    Run(run_dir).write("outcome", {"exit_code": exit_code, "overrides": typed, "error": error})


def _translated(error: BaseException) -> BaseException:
    if not isinstance(error, Exception | SystemExit):
        return error
    known: BaseException | None = known_error(error) if isinstance(error, Exception) else None
    known = known or _signal_behind(error) or caused_elsewhere(error)
    return known or refusal_of_a_typed_value(error, typed_overrides() or ()) or error


def _signal_behind(error: BaseException) -> BaseException | None:
    """Return what a signal raised where a library raised something else while handling it.

    Lightning turns Ctrl-C into sys.exit(1), and SIGTERM into an exit without a code if Python had to ignore the
    first one; Optuna has an UnboundLocalError after it.
    """
    context: BaseException | None = error
    while context:
        if isinstance(context, KeyboardInterrupt):
            return KeyboardInterrupt()
        if isinstance(context, SystemExit) and context.code == 128 + signal.SIGTERM:
            return context
        if type(context).__name__ == "SIGTERMException":
            return SystemExit(128 + signal.SIGTERM)
        context = context.__context__
    return None


def _exit_code(error: BaseException) -> int | None:
    """Return an error's exit code; None if something else ended the job, such as a launcher that requeues it."""
    if isinstance(error, EXPECTED_ERRORS):
        return error.exit_code
    if isinstance(error, KeyboardInterrupt):
        return 128 + signal.SIGINT
    if isinstance(error, SystemExit):
        return error.code if error.code == 128 + signal.SIGTERM else None
    return 1


def _was_cut_off(cfg: DictConfig, run_dir: Path) -> bool:
    """Return whether this multirun job started before and has no outcome, as when a cluster restarts it."""
    run = Run(run_dir)
    begun = in_multirun() and "resume" in cfg and run.config_file.is_file()
    if not begun or run.outcome:
        return False
    run_config.refuse_other_run(cfg, run_dir)
    return True


def _written(path: Path) -> int | None:
    """Return when a file was written last; None if there is none."""
    return path.stat().st_mtime_ns if path.is_file() else None


def _is_new(run: Run) -> bool:
    """Return whether no command has left anything in a directory."""
    return not (run.traces() or run.config_file.exists() or run.record_path("outcome").exists())
