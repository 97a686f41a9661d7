"""Runs one job of a command: checks its directory, writes config.yaml and outcome.json, translates its errors."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import Any, NamedTuple

from omegaconf import DictConfig, OmegaConf

from ft_lightning.cli.checks import check_config
from ft_lightning.cli.compose import PACKAGE
from ft_lightning.cli.directories import refuse_cache_inside_dataset, refuse_run_inside_dataset, refuse_used_directory
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
from ft_lightning.system.signals import signal_behind
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
        with _translating(), claimed(run_dir) if owner else nullcontext():
            _Job(verb, cfg, run_dir, typed, owner).carry_out()
    finally:
        _typed.reset(tokens[0])
        _in_multirun.reset(tokens[1])


class _Job:
    """A job in a directory that no other process uses; how far it came decides where its error is written."""

    def __init__(self, verb: Verb, cfg: DictConfig, run_dir: Path, typed: list[str], owner: bool) -> None:
        self._verb, self._cfg, self._typed, self._owner = verb, cfg, typed, owner
        self._run = Run(run_dir)
        self._writes_outcome = owner or (is_main_process() and in_multirun())
        self._was_new = self._writes_outcome and _is_new(self._run)
        self._config_written = _written(self._run.config_file)
        self._goes_on = False  # with a run that was begun before
        self._begun = False  # its config has passed all checks

    def carry_out(self) -> None:
        """Run the job, and write its outcome."""
        try:
            with _translating():
                self._begin()
                self._verb.job(self._cfg, self._run.path)
        except BaseException as error:
            self._record(error)
            raise
        if self._writes_outcome:
            self._write_outcome(0, "")

    def _begin(self) -> None:
        """Check config and directory, then write config.yaml and begin the log."""
        directory, verb = self._run.path, self._verb
        if OmegaConf.select(self._cfg, "resume") and not verb.shared:
            self._cfg = resume.config_of(directory, self._cfg, self._typed)
        root = self._select("data.root")
        refuse_run_inside_dataset(directory, root)
        if self._owner and _was_cut_off(self._cfg, directory):
            self._cfg.resume = str(directory)
        self._goes_on = bool(self._select("resume"))
        if self._owner and not self._goes_on:
            refuse_used_directory(directory)
        if "model" in self._cfg:  # the check imports what a config names, to read its parameters
            load(verb.libraries, verb.is_the_process)
        check_config(self._cfg, self._typed, verb.name, verb.job.__module__, in_multirun())
        self._begun = True
        if root != (root := self._select("data.root")):  # a folder whose name YAML reads as a number
            refuse_run_inside_dataset(directory, root)
        refuse_cache_inside_dataset(self._select("cache.dir"), root)
        if self._owner or (is_main_process() and verb.shared):
            log_to(self._run.log)
        if self._owner and not self._goes_on:
            command = ["python", "-m", f"{PACKAGE.name}.{verb.name}", *self._typed]
            run_config.write_config(self._cfg, directory, command)
        load(verb.libraries, verb.is_the_process)

    def _select(self, key: str) -> Any:
        return OmegaConf.select(self._cfg, key)

    def _record(self, error: BaseException) -> None:
        """Write an error that ended the job into its directory, but never into another run's."""
        if self._begun and isinstance(error, DataProblemsError) and is_main_process():
            write_problems(error.problems, self._run.record_path("problems"))
        code = _exit_code(error)
        owns = self._owns_directory(refused=code == UserError.exit_code)
        if self._begun and not owns:
            drop_log()
        if self._writes_outcome and owns and code is not None:
            with suppress(OSError):  # the first error counts
                self._write_outcome(code, str(error) if isinstance(error, EXPECTED_ERRORS) else repr(error))

    def _owns_directory(self, refused: bool) -> bool:
        """Return whether the job may write there; a run that refuses to go on with these overrides keeps its files."""
        if not self._begun:
            return self._was_new and refused and self._run.path.is_dir()
        went_on = _written(self._run.config_file) != self._config_written  # train writes it when it goes on
        return went_on or not (self._goes_on and refused)

    def _write_outcome(self, exit_code: int, error: str) -> None:
        self._run.write("outcome", {"exit_code": exit_code, "overrides": self._typed, "error": error})


@contextmanager
def _translating() -> Iterator[None]:
    """Raise for the user what a library, another process or a signal has raised."""
    try:
        yield
    except BaseException as error:
        translated = _translated(error)
        if translated is error:
            raise
        raise translated from error


def _translated(error: BaseException) -> BaseException:
    if not isinstance(error, Exception | SystemExit):
        return error
    known: BaseException | None = known_error(error) if isinstance(error, Exception) else None
    known = known or signal_behind(error) or caused_elsewhere(error)
    return known or refusal_of_a_typed_value(error, typed_overrides() or ()) or error


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
