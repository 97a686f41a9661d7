"""One job of a command: which directories it refuses, what it leaves in its own, and what its errors mean."""

import signal
from collections.abc import Callable
from contextlib import nullcontext, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import Any, NamedTuple

from omegaconf import DictConfig, OmegaConf

from ft_lightning.cli.compose import PACKAGE
from ft_lightning.cli.known_errors import known_error
from ft_lightning.cli.processes import FailedElsewhereError, caused_elsewhere
from ft_lightning.data.problems import DataProblemsError, write_problems
from ft_lightning.runs import config as run_config
from ft_lightning.runs import resume
from ft_lightning.runs.run import Run
from ft_lightning.system.distributed import is_main_process
from ft_lightning.system.errors import NumericalError, UserError
from ft_lightning.system.files import claimed

TOLD = (UserError, NumericalError, FailedElsewhereError)  # in a few lines; each has an exit code


class Verb(NamedTuple):
    """A command.

    Args:
        job: what it does with a config and a run's directory; returns what it has found.
        distributed: whether several processes, as torchrun or srun start them, can do the job together.
        shared: whether any number of processes may work in one run directory, now and later; the job sees to it.
    """

    name: str
    job: Callable[[DictConfig, Path], dict[str, Any]]
    distributed: bool = False
    shared: bool = False


_typed: ContextVar[list[str] | None] = ContextVar("_typed", default=None)
_in_multirun: ContextVar[bool] = ContextVar("_in_multirun", default=False)


def typed_overrides() -> list[str] | None:
    """The overrides of the job in progress; None outside of one.

    A reference to the environment stays one, in whatever file or table they go to.
    """
    return _typed.get()


def in_multirun() -> bool:
    """Whether the job in progress is one of a multirun of ours; not asked of Hydra, which may be another program's."""
    return _in_multirun.get()


def carry_out(verb: Verb, cfg: DictConfig, run_dir: Path, typed: list[str], multirun: bool = False) -> None:
    """Do the job of a command in a run's directory, and leave config.yaml and outcome.json there.

    Args:
        typed: the overrides that made `cfg`.
        multirun: whether it is a job of one.
    """
    owner = is_main_process() and not verb.shared
    tokens = _typed.set(typed), _in_multirun.set(multirun)
    try:
        with claimed(run_dir) if owner else nullcontext():
            _do(verb, cfg, run_dir, typed, owner)
    except BaseException as error:
        meant = _meaning(error)
        if meant is error:
            raise
        raise meant from error
    finally:
        _typed.reset(tokens[0])
        _in_multirun.reset(tokens[1])


def _do(verb: Verb, cfg: DictConfig, run_dir: Path, typed: list[str], owner: bool) -> None:
    """Do the job in a directory that nobody else works in, and raise what its errors mean to the user."""
    lasting = owner or (is_main_process() and in_multirun())
    begun, goes_on, was_empty = False, False, not any(run_dir.iterdir())
    try:
        if OmegaConf.select(cfg, "resume") and not verb.shared:
            cfg = resume.config_of(run_dir, cfg, typed)
        root = OmegaConf.select(cfg, "data.root")
        refuse_run_inside_dataset(run_dir, root)
        if owner and _was_cut_off(cfg, run_dir):
            cfg.resume = str(run_dir)
        goes_on = bool(OmegaConf.select(cfg, "resume"))
        if owner and not goes_on:
            _refuse_used_directory(run_dir)
        begun = True
        _refuse_cache_inside_dataset(OmegaConf.select(cfg, "cache.dir"), root)
        if owner and not goes_on:
            run_config.write_config(cfg, run_dir, ["python", "-m", f"{PACKAGE.name}.{verb.name}", *typed])
        verb.job(cfg, run_dir)
    except BaseException as error:
        meant = _meaning(error)
        refused = isinstance(meant, UserError)
        if begun and isinstance(meant, DataProblemsError) and is_main_process():
            write_problems(meant.problems, Run(run_dir).record_path("problems"))
        # Never into another run's directory; and a run that cannot go on as it was typed keeps the outcome it has.
        its_own = not (goes_on and refused) if begun else was_empty and refused and run_dir.is_dir()
        code = _exit_code(meant)
        if lasting and its_own and code is not None:
            with suppress(OSError):  # the first error counts
                _write_outcome(run_dir, typed, code, str(meant) if isinstance(meant, TOLD) else repr(meant))
        if meant is error:
            raise
        raise meant from error
    if lasting:
        _write_outcome(run_dir, typed, 0, "")


def _write_outcome(run_dir: Path, typed: list[str], exit_code: int, error: str) -> None:
    Run(run_dir).write("outcome", {"exit_code": exit_code, "overrides": typed, "error": error})


def _meaning(error: BaseException) -> BaseException:
    if isinstance(error, SystemExit) and isinstance(error.__context__, KeyboardInterrupt):
        return KeyboardInterrupt()  # which Lightning answers with sys.exit(1)
    if not isinstance(error, Exception):
        return error
    return known_error(error) or caused_elsewhere(error) or error


def _exit_code(error: BaseException) -> int | None:
    """None for an end that is not the job's own, such as when a launcher puts it into the queue again."""
    if isinstance(error, TOLD):
        return error.exit_code
    if isinstance(error, KeyboardInterrupt):
        return 128 + signal.SIGINT
    if isinstance(error, SystemExit):
        return error.code if error.code == 128 + signal.SIGTERM else None
    return 1


def _was_cut_off(cfg: DictConfig, run_dir: Path) -> bool:
    """Whether this job of a multirun was begun before and has no outcome, as when a cluster stops and restarts it."""
    run = Run(run_dir)
    begun = in_multirun() and "resume" in cfg and run.config_file.is_file()
    if not begun or run.outcome:
        return False
    run_config.refuse_other_run(cfg, run_dir)
    return True


def _refuse_used_directory(run_dir: Path) -> None:
    if others := Run(run_dir).traces():
        raise UserError(
            f"hydra.run.dir={run_dir} holds a run already, or something else ({others[0]}), which would be mixed with "
            "this one: name another."
        )


def _refuse_cache_inside_dataset(cache_dir: Any, root: Any) -> None:
    if cache_dir is not None and _is_inside(Path(str(cache_dir)).expanduser(), root):
        raise UserError(
            f"cache.dir={cache_dir} lies inside the dataset data.root={root}, which is never written to: name another."
        )


def refuse_run_inside_dataset(run_dir: Path, root: Any) -> None:
    """Raise UserError where a run's directory lies inside the dataset; the folders just made for it are removed."""
    if not _is_inside(run_dir, root):
        return
    root = str(root)
    for folder in (run_dir, *run_dir.parents):  # what Hydra has just made, and nothing that holds anything
        try:
            if folder.resolve() == Path(root).expanduser().resolve() or any(folder.iterdir()):
                break
            folder.rmdir()
        except FileNotFoundError:  # another process of this run was here
            continue
    raise UserError(
        f"hydra.run.dir={run_dir} lies inside the dataset data.root={root}, which is never written to: "
        "start from another directory, or set hydra.run.dir."
    )


def _is_inside(folder: Path, root: Any) -> bool:
    # str: Hydra makes a number of a folder called 2024
    return root is not None and folder.resolve().is_relative_to(Path(str(root)).expanduser().resolve())
