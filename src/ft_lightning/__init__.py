"""Fine-tune pretrained models with PyTorch Lightning and Hydra."""

import os
from typing import TYPE_CHECKING

from ft_lightning.system.errors import UserError
from ft_lightning.system.lazy import imported, lazily

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ft_lightning.cli.compose import compose
    from ft_lightning.cli.job import Verb
    from ft_lightning.deploy.model_dir import load
    from ft_lightning.runs.run import Run

__all__ = ["Run", "compose", "load", "run"]

_VERBS = ("train", "evaluate", "predict", "tune", "check", "report", "export")

# Before torch loads: threads that wait in a loop take the cores from other processes of the machine, and three runs at
# once on two cores took twenty times as long. Whoever has chosen how threads wait keeps it.
if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"} & os.environ.keys():
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"


def run(verb: str, *overrides: "str | Sequence[str]", run_dir: str | os.PathLike[str] | None = None) -> "Run":
    """Run `python -m ft_lightning.<verb> <overrides>` in this process: `run("train", "data.root=/images")`.

    Args:
        overrides: as typed, one by one or as a list.
        run_dir: folder for the run's files; None: the command's default, outputs/<verb>/<date>_<time>_<unique>.

    Raises:
        UserError: the user has to fix something; the command exits with code 2.
        NumericalError: training failed numerically.
    """
    from ft_lightning.cli.command import run_in_python

    typed = [word for given in overrides for word in ([given] if isinstance(given, str) else given)]
    return run_in_python(_verb(verb), typed, run_dir)


def _verb(name: str) -> "Verb":
    """Import the module of this name and return its command."""
    if name not in _VERBS:
        raise UserError(f"{name} is no command: use {', '.join(_VERBS[:-1])} or {_VERBS[-1]}.")
    verb: Verb = imported(f"{__name__}.{name}", "VERB")
    return verb


__getattr__ = lazily(__name__, {"Run": "runs.run", "compose": "cli.compose", "load": "deploy.model_dir"})
