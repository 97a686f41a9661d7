"""Imports what a command needs, and says so, as it takes seconds."""

import gc
import importlib
import sys
from collections.abc import Sequence

from ft_lightning.system.console import console
from ft_lightning.system.distributed import is_main_process


def load(libraries: Sequence[str], for_good: bool) -> None:
    """Import libraries; the first time, say so.

    Args:
        for_good: whether the process ends with the command, so that nothing imported so far can become garbage.
    """
    if sys.modules.keys() >= set(libraries):
        return
    if is_main_process():
        console.print("loading ...")
    collects = gc.isenabled()
    gc.disable()  # a fifth of the time goes into looking through modules for garbage
    try:
        for name in libraries:
            importlib.import_module(name)
        if for_good:
            gc.freeze()
    finally:
        if collects:
            gc.enable()
