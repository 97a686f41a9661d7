"""A process that has imported all and forks for each command: most of a short run's time are imports.

Reads lines of JSON on standard input, and answers each with a line:
  {"module", "arguments", "cwd", "env", "out", "err", "seconds"}  starts `python -m module arguments`, its output in
                                                                  those files, and answers with its process's number
  {"ended": number}                                               answers with its exit code as `subprocess` has it, or
                                                                  null
"""

import atexit
import gc
import importlib
import json
import os
import pkgutil
import runpy
import signal
import sys
import threading
import traceback
from typing import Any

import hydra
import jinja2
import lightning
import matplotlib.backends.backend_svg
import omegaconf
import optuna
import pandas
import rich.progress
import safetensors.torch
import sklearn.datasets
import timm
import torch
import torchmetrics
import torchvision
from markupsafe import Markup

import ft_lightning
from composing import composed_once
from ft_lightning.cli.compose import compose_with_hydra
from ft_lightning.pages import page

LIBRARIES = (hydra, jinja2, lightning, matplotlib, omegaconf, optuna, pandas, rich, safetensors, sklearn)
MORE = (timm, torch, torchmetrics, torchvision)


def main() -> None:
    """Answer until standard input ends."""
    for module in pkgutil.walk_packages(ft_lightning.__path__, f"{ft_lightning.__name__}."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    with composed_once():
        for choices in ([], ["model=timm"]):
            compose_with_hydra("train", choices)
        _answer()
    os._exit(0)  # Triton would complain of what is frozen


def _answer() -> None:
    gc.freeze()  # or each fork would look for garbage among the libraries, and copy their memory by that
    for line in sys.stdin:
        asked = json.loads(line)
        print(_ended(asked["ended"]) if "ended" in asked else _start(asked), flush=True)  # noqa: T201


def _start(asked: dict[str, Any]) -> int:
    child = os.fork()
    if child == 0:
        try:
            _be(asked)
        finally:
            os._exit(70)  # never a second server
    return child


def _ended(child: int) -> str:
    number, status = os.waitpid(child, os.WNOHANG)
    return json.dumps(os.waitstatus_to_exitcode(status) if number else None)


def _be(asked: dict[str, Any]) -> None:
    """Become the command, and end as the interpreter would."""
    signal.alarm(asked["seconds"])  # then the system ends a command that hangs
    os.chdir(asked["cwd"])
    os.environ.clear()
    os.environ.update(asked["env"])
    for descriptor, path in ((1, asked["out"]), (2, asked["err"])):
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, descriptor)
        os.close(file)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    if os.environ.pop("NO_DRAWING", None):
        page._svg = lambda figure, salt: Markup("<svg></svg>")
    if encoding := os.environ.get("PYTHONIOENCODING"):
        sys.stdout.reconfigure(encoding=encoding)
        sys.stderr.reconfigure(encoding=encoding, errors="backslashreplace")
    sys.path[:0] = [asked["cwd"], *asked["env"].get("PYTHONPATH", "").split(os.pathsep)]
    sys.argv = [asked["module"], *asked["arguments"]]
    sys.modules.pop(asked["module"], None)  # it becomes __main__
    code: Any = 0
    try:
        runpy.run_module(asked["module"], run_name="__main__", alter_sys=True)
    except SystemExit as error:
        code = error.code
        if isinstance(code, str):
            print(code, file=sys.stderr)  # noqa: T201
    except KeyboardInterrupt:
        traceback.print_exc()
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    except BaseException:
        traceback.print_exc()
        code = 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else int(code is not None))


if __name__ == "__main__":
    main()
