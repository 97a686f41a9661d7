"""How a command ends, and what it leaves if its work was not done: nothing if it was refused, else how to go on."""

import atexit
import gc
import io
import os
import signal
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from ft_lightning.runs.run import Run
from ft_lightning.system.commands import command_line, quoted
from ft_lightning.system.console import short

_AFTER_A_SIGNAL = 2.0  # seconds in which threads may end


def remove_refused(run_dir: Path) -> None:
    """Remove the directory that a refused command was given, and the folders made for it, if it left no result."""
    run = Run(run_dir)
    with suppress(OSError):  # somebody else writes there
        if run.traces() or run.record_path("problems").exists():
            return
        for path in (run.config_file, run.log, run.record_path("outcome")):
            path.unlink(missing_ok=True)
        for folder in (run_dir.absolute(), *run_dir.absolute().parents):
            if folder == Path.cwd() or not folder.is_relative_to(Path.cwd()):
                return
            folder.rmdir()


def kept(verb: str, run_dir: Path, number: int) -> str:
    """Say what is kept of a command that a signal has ended, and what to type to go on."""
    run = Run(run_dir)
    how = "Interrupted" if number == signal.SIGINT else "Ended by SIGTERM"
    if verb == "tune":
        return f"{how}: finished trials are kept in {short(run_dir)}, the same command continues from there."
    if verb == "train" and run.config_file.is_file():
        begun = run.checkpoints.is_dir() and any(run.checkpoints.glob("*.ckpt"))
        what = f"{short(run_dir)} has all up to its last checkpoint" if begun else "there is no checkpoint yet"
        go_on = command_line(verb, resume=short(run_dir))
        return f"{how}: {what}, and computed features are stored. To go on:\n{go_on}"
    if run_dir.is_dir() and run.traces():
        again = "start the same command again, with another hydra.run.dir if you set one."
        return f"{how}: {short(run_dir)} has what was found so far; to finish, {again}"
    return f"{how}: there is no result; start the same command again."


def predict_line(run: Run) -> str:
    """Return the command that asks a run's model: images of a folder, a text, the pairs of a table, or a question."""
    words = ["input=FOLDER"]
    kind = (run.card.get("preprocess") or {}).get("kind")
    if kind == "conversation":
        words = ["text=QUESTION"]
    if kind == "text":
        columns = (run.config.get("data") or {}).get("text")
        words = ["text=TEXT"]
        if isinstance(columns, list) and len(columns) > 1:
            words = ["input=TABLE", f"column=[{','.join(map(quoted, columns))}]"]
    return command_line("predict", words, model_dir=short(run.path))


def leave(code: object) -> NoReturn:
    """End this process as `sys.exit(code)` does, but without freeing every object first, which takes a second or two.

    It waits for threads, calls what was registered with `atexit` and writes what open files hold back. After a signal
    it waits for seconds only: if that interrupted a library just as it started a thread, nobody ends the thread.
    """
    if isinstance(code, str):
        print(code, file=sys.stderr)  # noqa: T201
    number = code if isinstance(code, int) else int(code is not None)
    try:
        if number in (128 + signal.SIGINT, 128 + signal.SIGTERM):
            _join_threads(_AFTER_A_SIGNAL)
        else:
            threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        for file in [sys.stdout, sys.stderr, *gc.get_objects()]:
            if type(file) in (io.TextIOWrapper, io.BufferedWriter, io.BufferedRandom):
                with suppress(OSError, ValueError):  # ValueError: it is closed
                    file.flush()
    finally:
        os._exit(number)


def _join_threads(seconds: float) -> None:
    """Wait at most so long for the threads that Python would wait for."""
    until = time.monotonic() + seconds
    for thread in threading.enumerate():
        if thread is not threading.main_thread() and not thread.daemon:
            thread.join(max(0.0, until - time.monotonic()))
