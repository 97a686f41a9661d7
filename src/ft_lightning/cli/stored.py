"""Which settings need stored features."""

from omegaconf import DictConfig

from ft_lightning.callbacks.stored_features import Requirement
from ft_lightning.cli.solver import solves_head


def requirement(cfg: DictConfig, other: Requirement | None) -> Requirement | None:
    """Return the setting of a config that needs stored features most, or the other one; None if there is none."""
    if cfg.repeats > 1:
        return Requirement(f"repeats={cfg.repeats}", "leave it out; -m seed=0,1,2 trains several times")
    if cfg.folds > 1:
        instead = f"leave it out; it would cost {cfg.folds} more trainings as long as this one"
        return Requirement(f"folds={cfg.folds}", instead, ("train", "val", "test"))
    solver = Requirement("optimizer=lbfgs", "use optimizer=adam")
    return other or (solver if solves_head(cfg) else None)
