"""Runs a command through `hydra.main`, or without it in Python: run directories, exit codes, signals."""

import _thread
import gc
import os
import signal
import sys
import threading
import traceback
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from ft_lightning.cli import ending, keys, meanings, multirun, processes
from ft_lightning.cli.compose import CONF, compose_with_hydra, search_working_directory
from ft_lightning.cli.job import EXPECTED_ERRORS, Verb, carry_out
from ft_lightning.cli.known_errors import config_error, print_error
from ft_lightning.runs import resume
from ft_lightning.runs.run import Run
from ft_lightning.system import streams
from ft_lightning.system.commands import quoted
from ft_lightning.system.distributed import is_main_process
from ft_lightning.system.errors import UserError

_PLACES = ("data.root", "data.csv", "data.exclude", "init_from", "model_dir", "input", "run", "runs")  # that are read
_MISCONFIGURED = (HydraException, OmegaConfBaseException, YAMLError, OSError)  # before a job starts


def run(verb: Verb) -> None:
    """Compose the verb's config from the command line, run its job, or each job of a multirun, and exit.

    A failed job does not stop a multirun, which ends with a table and the worst exit code of its jobs.
    """
    try:
        with streams.guarded(whole_process=True):
            _run(verb)
    except SystemExit as stopped:
        if verb.is_the_process:
            ending.leave(stopped.code)
        raise


def _run(verb: Verb) -> None:
    processes.watch_starter()
    search_working_directory()
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # Hydra re-raises, so that the exit code is decided here
    signal.signal(signal.SIGTERM, _exit_on_sigterm)
    sys.unraisablehook = _signal_again

    # A launcher may send this function to another process, so its closure holds only the verb.
    @hydra.main(version_base="1.3", config_path=str(CONF), config_name=verb.name)
    def main(cfg: DictConfig) -> int:
        return _attempt(verb, cfg)

    try:
        sys.argv[1:] = words = _with_run_directory(verb, sys.argv[1:])
        if {"-h", "--help"} & set(words):
            print(meanings.most_used(verb.name) + "\n")  # noqa: T201
        main()
    except UserError as error:
        print_error(error)
        sys.exit(error.exit_code)
    except _MISCONFIGURED as error:
        print_error(keys.explain(verb.name, sys.argv[1:], error) or config_error(error))
        sys.exit(UserError.exit_code)
    except KeyboardInterrupt as error:
        if not error.args:  # else the job has said more
            print_error("Interrupted.", kind="")
        sys.exit(128 + signal.SIGINT)
    except Exception as error:
        multirun.wait_for_other_jobs(error)
    sys.exit(multirun.conclude())


def run_in_python(verb: Verb, overrides: Sequence[str], run_dir: str | os.PathLike[str] | None) -> Run:
    """Run a command in this process: see `ft_lightning.run`."""
    processes.watch_starter()
    given = [] if run_dir is None else [f"hydra.run.dir={quoted(Path(run_dir))}"]
    words = [*overrides, *given]
    try:
        cfg = compose_with_hydra(verb.name, _with_run_directory(verb, words))
        typed: Any = OmegaConf.to_container(cfg.hydra.overrides.task, resolve=False)
        folder = Path(cfg.hydra.run.dir)
        folder.mkdir(parents=True, exist_ok=True)
    except _MISCONFIGURED as error:
        raise keys.explain(verb.name, list(overrides), error) or config_error(error) from error
    own = OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key != "hydra"])
    try:
        with streams.guarded():
            carry_out(verb, own, folder, typed)
    except UserError:
        _remove_if_refused(verb, folder, words)
        raise
    return Run(folder)


def _attempt(verb: Verb, cfg: DictConfig) -> int:
    """Run one job and report its error; exit with its code, or return the code to a multirun."""
    typed: Any = OmegaConf.to_container(HydraConfig.get().overrides.task, resolve=False)
    folder, several = Path(HydraConfig.get().runtime.output_dir), HydraConfig.get().mode == RunMode.MULTIRUN
    with multirun.one_line(verb, folder, typed) if several else nullcontext(), streams.guarded():
        code = _report(verb, cfg, folder, typed, several)
    if not several:
        if code == UserError.exit_code:
            _remove_if_refused(verb, folder, HydraConfig.get().overrides.hydra)
        sys.exit(code)
    gc.collect()  # jobs may share a process: free the model of this one
    return code


def _report(verb: Verb, cfg: DictConfig, folder: Path, typed: list[str], several: bool) -> int:
    """Run one job, print what it raises and return its exit code."""
    try:
        if HydraConfig.initialized() and HydraConfig.get().job.chdir:
            _refuse_relative_paths(cfg, Path(HydraConfig.get().runtime.cwd))
        carry_out(verb, cfg, folder, typed, several)
    except EXPECTED_ERRORS as error:
        print_error(error)
        multirun.record_outcome(folder, typed, error.exit_code, str(error))
        return error.exit_code
    except KeyboardInterrupt:
        said = ending.kept(verb.name, folder, signal.SIGINT)
        if is_main_process():
            print_error(said, kind="")
        raise KeyboardInterrupt(said) from None
    except SystemExit as error:
        if error.code == 128 + signal.SIGTERM and is_main_process():
            print_error(ending.kept(verb.name, folder, signal.SIGTERM), kind="")
        raise
    except Exception:
        sys.stderr.write(traceback.format_exc())
        return 1
    return 0


def _remove_if_refused(verb: Verb, folder: Path, words: Sequence[str]) -> None:
    """Leave no directory behind that nobody has named, unless other processes may work in it."""
    named = any("hydra.run.dir=" in word for word in words)
    if is_main_process() and not verb.shared and not named:
        ending.remove_refused(folder)


def _refuse_relative_paths(cfg: DictConfig, typed_in: Path) -> None:
    """Raise UserError for a path that was typed relative to a folder which Hydra has left for the run's directory."""
    for key in _PLACES:
        place = OmegaConf.select(cfg, key)
        if isinstance(place, str) and not Path(place).expanduser().is_absolute():
            raise UserError(
                f"{key}={place}: with hydra.job.chdir=true a relative path starts at the run's directory; write "
                f"{typed_in / place}."
            )


def _with_run_directory(verb: Verb, words: list[str]) -> list[str]:
    """Add the run directory to a command line unless conf/ chooses it.

    A resumed run continues in its own directory. If torchrun or srun started several processes, only the main one has
    a run directory: the others write nothing, and the main one tells them where checkpoints are. Lightning's own
    launcher names the directory on their command line.
    """
    keys.refuse_words(words)
    if is_main_process():
        resume.refuse_other_directory(words)
    if old := resume.run_directory(words):
        words = [*words, f"hydra.run.dir={quoted(old)}"]
    if is_main_process() and os.environ.get("WORLD_SIZE", "1") == "1":
        return words
    if not verb.distributed:
        raise UserError(f"{verb.name} runs in one process: start it without torchrun, or as one task of srun.")
    if {"-m", "--multirun", "hydra.mode=MULTIRUN"} & set(words):
        raise UserError("-m: several processes would each run the whole multirun: run the jobs one by one.")
    if not is_main_process() and not any(word.startswith("hydra.run.dir=") for word in words):
        words = [*words, "hydra.run.dir=."]
    return words


def _signal_again(unraisable: "sys.UnraisableHookArgs") -> None:
    """Deliver a signal once more whose exception Python could only ignore, as in the callback of a weak reference."""
    number = signal.SIGINT if isinstance(unraisable.exc_value, KeyboardInterrupt) else None
    if isinstance(unraisable.exc_value, SystemExit) and unraisable.exc_value.code == 128 + signal.SIGTERM:
        number = signal.SIGTERM
    if number:
        again = threading.Timer(0.1, _interrupt, [number])
        again.daemon = True
        again.start()
    else:
        sys.__unraisablehook__(unraisable)


def _interrupt(number: signal.Signals) -> None:
    """Send this process a signal that also ends what its main thread waits for."""
    main_thread = threading.main_thread().ident
    if sys.platform == "win32" or main_thread is None:
        _thread.interrupt_main(number)
    else:
        signal.pthread_kill(main_thread, number)


def _exit_on_sigterm(signum: int, frame: object) -> None:
    sys.exit(128 + signum)
