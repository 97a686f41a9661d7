"""`python -m ft_lightning.rename my_project`: make a clone yours, package, commands and documents alike."""

import importlib.util
import keyword
import re
import subprocess
import sys
from pathlib import Path

from ft_lightning.system.errors import UserError

_OLD = Path(__file__).parent.name


def rename(new: str, clone: Path) -> list[Path]:
    """Replace the package's name in every file that git tracks, and move its folder; returns the changed files."""
    if not re.fullmatch(r"[a-z][a-z0-9_]*", new) or keyword.iskeyword(new) or importlib.util.find_spec(new):
        raise UserError(f"{new!r} is no free package name: use lower-case letters, digits and _, and none that exists.")
    if not (clone / ".git").exists() or not (clone / "src" / _OLD).is_dir():
        raise UserError(f"{clone} is not the top folder of a clone with src/{_OLD}: change into it first.")
    if _git(clone, "status", "--porcelain"):
        raise UserError(
            f"{clone} has uncommitted changes: commit them first, so that the renaming can be undone alone."
        )
    changed = []
    for name in _git(clone, "grep", "-lI", _OLD).splitlines():
        path = clone / name
        path.write_text(path.read_text(encoding="utf-8").replace(_OLD, new), encoding="utf-8")
        changed.append(path)
    _git(clone, "mv", f"src/{_OLD}", f"src/{new}")
    return changed


def _git(clone: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=clone, check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    try:
        files = rename(sys.argv[1] if len(sys.argv) == 2 else "", Path.cwd())
    except UserError as error:
        sys.exit(f"error: {error}\nusage: python -m {_OLD}.rename new_name, in the clone's top folder")
    print(f"{_OLD} is now {sys.argv[1]} in {len(files)} files; `make test`, then commit.")  # noqa: T201
