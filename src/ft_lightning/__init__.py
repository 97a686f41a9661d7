"""Fine-tune pretrained models with PyTorch Lightning and Hydra."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import os

    from ft_lightning.cli.compose import compose
    from ft_lightning.cli.job import Verb
    from ft_lightning.deploy.model_dir import load
    from ft_lightning.runs.run import Run

__all__ = ["Run", "compose", "load", "run"]


def run(verb: str, *overrides: str, run_dir: "str | os.PathLike[str] | None" = None) -> "Run":
    """Do what `python -m ft_lightning.<verb> <overrides>` does, in this process: `run("train", "data.root=/images")`.

    Args:
        run_dir: where its files go; None: where the command would put them, outputs/<verb>/<date>_<time>_<unique>.

    Raises:
        UserError: something to fix, which the command would end with exit code 2 for.
        NumericalError: training failed numerically.
    """
    from ft_lightning.cli.command import run_in_python

    return run_in_python(_verb(verb), overrides, run_dir)


def _verb(name: str) -> "Verb":
    """The command of this name, as the module of this name runs it."""
    from ft_lightning.cli.job import Verb

    match name:
        case "train":
            from ft_lightning.train import train

            return Verb(name, train, distributed=True)
        case "tune":
            from ft_lightning.tune import tune

            return Verb(name, tune, shared=True)
        case "evaluate":
            from ft_lightning.evaluate import evaluate

            return Verb(name, evaluate)
        case "predict":
            from ft_lightning.predict import predict

            return Verb(name, predict)
        case "check":
            from ft_lightning.check import check

            return Verb(name, check)
        case "report":
            from ft_lightning.report import report

            return Verb(name, report)
    from ft_lightning.system.errors import UserError

    raise UserError(f"{name} is no command: use train, evaluate, predict, tune, check or report.")


def __getattr__(name: str) -> Any:
    # Lazy, because `python -m ft_lightning.train --help` imports this file and must not wait for torch.
    if name == "Run":
        from ft_lightning.runs.run import Run

        return Run
    if name == "compose":
        from ft_lightning.cli.compose import compose

        return compose
    if name == "load":
        from ft_lightning.deploy.model_dir import load

        return load
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
