"""What goes together with a solver, an optimizer that takes no steps: optimizer=lbfgs."""

from collections.abc import Sequence

from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf

from ft_lightning.system.errors import UserError


def solves_head(cfg: DictConfig) -> bool:
    """Return whether the optimizer solves for the head's optimum in each epoch instead of taking steps."""
    from ft_lightning.optim import HeadSolver

    made = get_object(cfg.optimizer._target_)
    return isinstance(made, type) and issubclass(made, HeadSolver)


def epochs(cfg: DictConfig) -> int | None:
    """Return the number of epochs: each of a solver tries one L2 strength."""
    from ft_lightning.optim import strengths

    return len(strengths(cfg.optimizer.weight_decay)) if solves_head(cfg) else cfg.trainer.max_epochs


def refuse_other_epochs(cfg: DictConfig, typed: Sequence[str]) -> None:
    """Raise UserError if a number of epochs was typed that a solver does not have."""
    words = [word for word in typed if word.startswith("trainer.max_epochs=")]
    if words and solves_head(cfg) and cfg.trainer.max_epochs != epochs(cfg):
        raise UserError(
            f"{words[-1]}: optimizer=lbfgs has an epoch for each strength of optimizer.weight_decay, here "
            f"{epochs(cfg)}: leave it out."
        )


def check_beside_solver(cfg: DictConfig) -> None:
    """Raise UserError for what does not go together with a solver, which takes no steps."""
    if not cfg.scheduler._target_.endswith(".constant"):
        raise UserError(
            "optimizer=lbfgs has no learning rate to schedule: leave scheduler=... out, or say optimizer=adam."
        )
    if OmegaConf.select(cfg, "data.sampler", default="shuffle") != "shuffle":
        raise UserError(
            f"data.sampler={cfg.data.sampler}: optimizer=lbfgs looks at all samples at once; leave it out, or say "
            "loss.class_weights=balanced."
        )
    if cfg.trainer.check_val_every_n_epoch != 1:
        raise UserError("trainer.check_val_every_n_epoch: optimizer=lbfgs chooses among all epochs by val; use 1.")
    if any("WeightAveraging" in callback._target_ for callback in cfg.callback.values()):
        raise UserError("callback=ema averages over steps, but optimizer=lbfgs has one step an epoch: leave one out.")
