"""What a config is checked for before a job begins."""

import sys

from omegaconf import DictConfig, OmegaConf

from ft_lightning.cli.keys import refuse_unread, refuse_unread_of_files
from ft_lightning.cli.solver import refuse_other_epochs
from ft_lightning.cli.values import check_kinds
from ft_lightning.system.errors import UserError


def check_config(cfg: DictConfig, typed: list[str], verb: str, module: str, in_multirun: bool) -> None:
    """Raise UserError for a key or value that does not fit.

    Args:
        typed: the overrides that made `cfg`.
        module: the verb's, whose docstring has its usage.
    """
    if missing := sorted(OmegaConf.missing_keys(cfg)):
        example = _usage(module) if set(missing) <= cfg.keys() else f"Say {missing[0]}=... too."
        raise UserError(f"{' and '.join(missing)}: not set. {example}")
    refuse_unread(cfg, typed)
    if not OmegaConf.select(cfg, "resume"):  # whose config may be older
        refuse_unread_of_files(cfg)
    check_kinds(cfg, typed)
    if verb == "train" and not in_multirun:  # of several jobs, and of a search, only some may solve
        refuse_other_epochs(cfg, typed)


def _usage(module: str) -> str:
    """Return the command lines of a module's docstring."""
    lines = (sys.modules[module].__doc__ or "").splitlines()
    return "\n".join(["For example:", *(line for line in lines if line.startswith("python -m"))])
