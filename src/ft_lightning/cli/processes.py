"""Ends the processes of a run together: with the exit code of the first that failed, and never after the main one."""

import atexit
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ft_lightning.system.distributed import is_main_process
from ft_lightning.system.errors import UserError

if TYPE_CHECKING:
    from lightning import Trainer


_PATIENCE_S = 10  # between the failure of one process and the end of all

_IN_PARTS = ("DeepSpeedStrategy", "FSDPStrategy", "ModelParallelStrategy")  # Lightning's

_STARTER = "RUN_STARTED_BY"  # environment variable of the processes that Lightning starts: the id of the main one

_started: list[subprocess.Popen] = []  # by Lightning, from this process
_stop_requested = threading.Event()


def watch_starter() -> None:
    """End this process within a second after the one that started it as a part of a run, however that one ended.

    That is the run's main process, or torchrun or srun. Otherwise this one might wait for hours for a dead process.
    """
    main = os.environ.pop(_STARTER, None)  # popped, so that a process started by this one watches nothing
    by_launcher = "TORCHELASTIC_RUN_ID" in os.environ or int(os.environ.get("SLURM_NTASKS", "1")) > 1
    if main or by_launcher:
        # The main one's id comes from itself: it may have ended before this process could ask.
        threading.Thread(target=_end_after, args=[int(main or os.getppid())], daemon=True, name="starter").start()


def _end_after(starter: int) -> None:
    while not _is_gone(starter):
        time.sleep(1)
    os._exit(1)  # the main thread may be within a library's call that never ends


def _is_gone(parent: int) -> bool:
    if os.name == "posix":
        return os.getppid() != parent
    import psutil

    return not psutil.pid_exists(parent)  # Windows keeps the id of a dead parent


def end_together() -> None:
    """Replace Lightning's observer of the processes it starts, so that all of them end together.

    Lightning's observer kills the main process when another one fails, and the exit code is lost. When the main process
    fails, it leaves the others running, which may wait forever. Lightning has no public way to replace it.
    """
    from lightning.pytorch.strategies.launchers import subprocess_script

    subprocess_script._launch_process_observer = _observe
    launcher = subprocess_script._SubprocessScriptLauncher
    if launcher._call_children_scripts is not _start_named:
        _start.append(launcher._call_children_scripts)
        launcher._call_children_scripts = _start_named  # type: ignore[assignment]


_start: list[Callable[[Any], None]] = []  # Lightning's own function


def _start_named(launcher: Any) -> None:
    """Start the other processes as Lightning does, and tell them who did."""
    os.environ[_STARTER] = str(os.getpid())
    try:
        _start[-1](launcher)
    finally:
        del os.environ[_STARTER]


def stop_watching() -> None:
    """Stop watching the other processes: the main one has their results, so a crash at their exit does not matter."""
    _stop_requested.set()


class FailedElsewhereError(Exception):
    """Another process of this run failed with this exit code; its own message gives the reason."""

    def __init__(self, exit_code: int) -> None:
        super().__init__(_message(exit_code))
        self.exit_code = max(exit_code, 1)


def caused_elsewhere(error: BaseException) -> FailedElsewhereError | None:
    """Translate an error that another process caused by ending; None for any other error.

    Waits up to five seconds for a process that Lightning started to end, so that its exit code is known.
    """
    # Messages of gloo, NCCL and the rendezvous; a download's broken connection is an OSError.
    said = r"(closed|reset) by peer|[Bb]roken pipe|remote process exited|Connection was likely closed"
    if not isinstance(error, RuntimeError) or not re.search(said, str(error)):
        return None
    deadline = time.monotonic() + _PATIENCE_S / 2
    while not (code := _failed()) and time.monotonic() < deadline and any(p.poll() is None for p in _started):
        time.sleep(0.1)
    return FailedElsewhereError(code)


def _observe(child_processes: list[subprocess.Popen]) -> None:
    _started[:] = child_processes
    _stop_requested.clear()
    atexit.register(_end, child_processes)
    threading.Thread(target=_end_after_first_failure, daemon=True, name="processes").start()


def _end_after_first_failure() -> None:
    while not _failed():
        if _stop_requested.wait(0.2):
            return
    # During training a closed connection raises in the main process, which then ends by itself. Nothing is raised if it
    # waits for a process that never connected, or on a GPU.
    if _stop_requested.wait(_PATIENCE_S):
        return
    print(f"error: {_message(_failed())}", file=sys.stderr, flush=True)  # noqa: T201
    sys.stdout.flush()
    _end(_started)
    os._exit(max(_failed(), 1))


def _failed() -> int:
    """Return the exit code of a failed process, preferably one with a typed error; 0 if none failed."""
    codes = [code for process in _started if (code := process.poll())]
    return next((code for code in codes if code in (2, 3)), codes[0] if codes else 0)


def _message(code: int) -> str:
    how = f"was ended by signal {-code}" if code < 0 else "has failed: its own message says why"
    return f"another process of this run {how}."


def _end(processes: list[subprocess.Popen]) -> None:
    """Wait shortly for the processes to end, then kill the rest: they may be waiting for a dead one."""
    _stop_requested.set()
    deadline = time.monotonic() + _PATIENCE_S / 4
    for process in processes:
        try:
            process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()


def refuse_processes(trainer: "Trainer", what: str) -> None:
    """Raise UserError if a trainer would start processes, as each would run the whole command again."""
    if trainer.num_devices * trainer.num_nodes > 1:
        raise UserError(
            f"trainer.devices={trainer.num_devices}, trainer.num_nodes={trainer.num_nodes}: {what} runs in one "
            "process, as more would each run the whole command: use trainer.devices=1."
        )


def refuse_parts(trainer: "Trainer") -> None:
    """Raise UserError for a strategy by which each process has a part of the weights."""
    name = type(trainer.strategy).__name__
    if name in _IN_PARTS:
        raise UserError(
            f"trainer.strategy={name}: each process would have a part of the weights, and checkpoints and the model "
            "directory need them whole: use trainer=ddp, with finetune=lora and model.grad_checkpointing=true where "
            "memory is short."
        )


def check_process_count(trainer: "Trainer") -> None:
    """Raise UserError if a launcher started more or fewer processes than the trainer has.

    Each process would train alone, or wait forever for one that was not started.
    """
    needed = trainer.num_devices * trainer.num_nodes
    started = int(os.environ["WORLD_SIZE"]) if "RANK" in os.environ else None  # by torchrun
    if started not in (None, needed) or (needed == 1 and not is_main_process()):
        raise UserError(
            f"trainer.devices={trainer.num_devices}, trainer.num_nodes={trainer.num_nodes}: a run of {needed} "
            f"processes, but torchrun or srun started {started or 'more'}: say trainer=ddp (or trainer=ddp_cpu) with "
            "as many trainer.devices as there are processes on a machine."
        )
