"""The processes of a distributed run end together, with the exit code of the one that failed first."""

import atexit
import os
import re
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

from ft_lightning.system.distributed import is_main_process
from ft_lightning.system.errors import UserError

if TYPE_CHECKING:
    from lightning import Trainer


_PATIENCE_S = 10  # between the failure of one process and the end of all

_started: list[subprocess.Popen] = []  # by Lightning, from this process
_nothing_to_wait_for = threading.Event()


def end_together() -> None:
    """Have the processes that Lightning starts end together, in place of Lightning's own observer.

    That one kills the main process when another one fails, whose exit code is then lost; and when the main process
    fails, it leaves the others alone, which may wait for it for ever. Lightning has no public way to choose another.
    """
    from lightning.pytorch.strategies.launchers import subprocess_script

    subprocess_script._launch_process_observer = _observe


def go_on_alone() -> None:
    """Stop watching the other processes: the main one has what it needs, and a crash at their exit spoils nothing."""
    _nothing_to_wait_for.set()


class FailedElsewhereError(Exception):
    """Another process of this run has failed, with this code: its own message says why."""

    def __init__(self, exit_code: int) -> None:
        super().__init__(_sentence(exit_code))
        self.exit_code = max(exit_code, 1)


def caused_elsewhere(error: BaseException) -> FailedElsewhereError | None:
    """What an error means that only says that another process is gone; None for any other error.

    A process that Lightning started gets a moment to end, so that its code is known.
    """
    # What gloo, NCCL and the rendezvous say; a download's broken connection is an OSError.
    said = r"(closed|reset) by peer|[Bb]roken pipe|remote process exited|Connection was likely closed"
    if not isinstance(error, RuntimeError) or not re.search(said, str(error)):
        return None
    deadline = time.monotonic() + _PATIENCE_S / 2
    while not (code := _failed()) and time.monotonic() < deadline and any(p.poll() is None for p in _started):
        time.sleep(0.1)
    return FailedElsewhereError(code)


def _observe(child_processes: list[subprocess.Popen]) -> None:
    _started[:] = child_processes
    _nothing_to_wait_for.clear()
    atexit.register(_end, child_processes)
    threading.Thread(target=_end_with_the_first, daemon=True, name="processes").start()


def _end_with_the_first() -> None:
    while not _failed():
        if _nothing_to_wait_for.wait(0.2):
            return
    # In the midst of training a closed connection raises in the main process, which then ends in its own way. Where it
    # waits for a process that was never connected, or on a GPU, nothing is raised.
    if _nothing_to_wait_for.wait(_PATIENCE_S):
        return
    print(f"error: {_sentence(_failed())}", file=sys.stderr, flush=True)  # noqa: T201
    sys.stdout.flush()
    _end(_started)
    os._exit(max(_failed(), 1))


def _failed() -> int:
    """The exit code of a process that failed, preferably of one with a typed error; 0 if none has failed."""
    codes = [code for process in _started if (code := process.poll())]
    return next((code for code in codes if code in (2, 3)), codes[0] if codes else 0)


def _sentence(code: int) -> str:
    how = f"was ended by signal {-code}" if code < 0 else "has failed: its own message says why"
    return f"another process of this run {how}."


def _end(processes: list[subprocess.Popen]) -> None:
    """Give the processes a moment to end by themselves, then kill those that are left: they may wait for a dead one."""
    _nothing_to_wait_for.set()
    deadline = time.monotonic() + _PATIENCE_S / 4
    for process in processes:
        try:
            process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()


def refuse_processes(trainer: "Trainer", what: str) -> None:
    """Raise UserError where a trainer would start processes, each of which would run the whole command again."""
    if trainer.num_devices * trainer.num_nodes > 1:
        raise UserError(
            f"trainer.devices={trainer.num_devices}, trainer.num_nodes={trainer.num_nodes}: {what} runs in one "
            "process, as more would each run the whole command: use trainer.devices=1."
        )


def refuse_another_number_of_processes(trainer: "Trainer") -> None:
    """Each of several processes would otherwise train alone, or wait for ever for one that was not started."""
    needed = trainer.num_devices * trainer.num_nodes
    started = int(os.environ["WORLD_SIZE"]) if "RANK" in os.environ else None  # by torchrun
    if started not in (None, needed) or (needed == 1 and not is_main_process()):
        raise UserError(
            f"trainer.devices={trainer.num_devices}, trainer.num_nodes={trainer.num_nodes}: a run of {needed} "
            f"processes, but torchrun or srun started {started or 'more'}: say trainer=ddp (or trainer=ddp_cpu) with "
            "as many trainer.devices as there are processes on a machine."
        )
