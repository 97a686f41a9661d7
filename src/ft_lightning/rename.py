"""`python -m ft_lightning.rename NAME`: make a clone yours, package, commands and documents alike."""

import importlib.util
import keyword
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from ft_lightning.runs.names import FORMER
from ft_lightning.system.errors import UserError, name_few

_OLD = Path(__file__).parent.name
_NAMES = rf"\b({_OLD}|{_OLD.replace('_', '-')})\b"  # the package and the console script
_TEMPLATE_ONLY = "tests/project"  # about the template itself, and of no use to a project made from it
# Stay word for word: the notice that the licence requires, and runs of earlier versions.
_UNCHANGED = ("LICENSE", "tests/old")
_ANY_ENCODING: dict[str, Any] = {"encoding": "utf-8", "errors": "surrogateescape"}
_KEPT_SECTIONS = ("Two commands", "The tree", "I want to ...")  # of README, beside those that the user has added
_USE = "docs/use.md"  # where those sections of the template's README go that say how to use it
_MOVED_SECTIONS = ("Use it", "Develop")
_DROPPED_SECTIONS = (*_MOVED_SECTIONS, "Measured")
_TREE_COLUMN = 26  # where README's tree explains a file


def rename(new: str, clone: Path) -> list[Path]:
    """Rename a clone's package, console script, tests and documents; return the changed files.

    Earlier runs can be resumed under the new name. A shorter README and an empty CHANGELOG replace the template's, and
    what its README says on use goes into docs/use.md; the tests about the template itself are removed. LICENSE keeps
    its notice.

    Raises:
        UserError: the name is taken or invalid, or `clone` is not a clone or has uncommitted changes.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]*", new) or keyword.iskeyword(new) or keyword.issoftkeyword(new):
        raise UserError(f"{new!r} is no package name: use lower-case letters, digits and _, and no word of Python.")
    if not all((clone / place).exists() for place in (".git", "pyproject.toml", f"src/{_OLD}")):
        raise UserError(f"{clone} is not the top folder of a clone with src/{_OLD}: change into it first.")
    if _git(clone, "status", "--porcelain"):
        raise UserError(
            f"{clone} has uncommitted changes: commit them first, so that the renaming can be undone alone."
        )
    if _git(clone, "check-ignore", f"src/{new}/"):
        raise UserError(f"src/{new} would be ignored by git, as .gitignore says: use another name.")
    except_for = [f":!{place}" for place in _UNCHANGED]
    # A word of the tree could not be told from the package's name, by readers or by the next renaming.
    elsewhere = [":!README.md", f":!{_TEMPLATE_ONLY}"]  # which are replaced or removed
    if importlib.util.find_spec(new):
        raise UserError(f"{new!r} is taken by a package that is installed: use another name.")
    if words := _git(clone, "grep", "-lIw", "-e", new, "--", ".", *except_for, *elsewhere).splitlines():
        raise UserError(f"{new!r} is taken by a word in {name_few(words)}: use another name.")
    _git(clone, "rm", "-rq", "--ignore-unmatch", _TEMPLATE_ONLY)
    _replace_documents(clone, new)
    changed = []
    for name in _git(clone, "grep", "-lIzE", "-e", _NAMES, "--", ".", *except_for).split("\0")[:-1]:
        _rewrite(clone / name, new)
        changed.append(clone / name)
    for line in filter(lambda line: line.startswith("120000"), _git(clone, "ls-files", "-sz").split("\0")):
        link = clone / line.partition("\t")[2]
        target = link.readlink()
        link.unlink()
        link.symlink_to(str(target).replace(f"src/{_OLD}", f"src/{new}"))
    _git(clone, "mv", f"src/{_OLD}", f"src/{new}")
    _add_former_name(clone / f"src/{new}/runs/names.py")
    for command in (["check", "--select", "I", "--fix"], ["format"]):  # names of another length and place
        _ruff(clone, *command)
    _allow_longer_lines(clone)
    return changed


def _rewrite(path: Path, new: str) -> None:
    """Write the new name for the old one, where it is a word, whatever the file's encoding and line ends."""

    def spelled(match: re.Match[bytes]) -> bytes:
        return (new.replace("_", "-") if b"-" in match[0] else new).encode()

    path.write_bytes(re.sub(_NAMES.encode(), spelled, path.read_bytes()))


def _replace_documents(clone: Path, new: str) -> None:
    """Replace the template's README and CHANGELOG with short ones to fill in, unless the user has rewritten them."""
    readme, changes = clone / "README.md", clone / "CHANGELOG.md"
    documents = [clone / "docs/internals.md", clone / "tests/PROMISES.md"]
    title, *parts = re.split(r"^## ", _text(readme), flags=re.MULTILINE)
    sections = {heading: body for heading, _, body in (part.partition("\n") for part in parts)}
    if title.startswith(f"# {_OLD}\n") and sections.keys() >= {*_KEPT_SECTIONS, *_MOVED_SECTIONS}:
        _write_readme(readme, sections, new)
        text = "".join(f"## {heading}\n{sections[heading]}" for heading in _MOVED_SECTIONS)
        text = re.sub(r"\]\((?!https?:)", "](../", text).replace("](../docs/", "](").rstrip()
        (clone / _USE).write_text(f"# How to use it\n\n{text}\n", **_ANY_ENCODING)
        _git(clone, "add", _USE)
        documents.append(readme)
    for document in filter(Path.is_file, documents):
        text = re.sub(rf"(<br>)?`{_TEMPLATE_ONLY}/[^`]*`(?=<br>| \|)", "", _text(document))  # in a cell of a table
        text = re.sub(rf"^.*{_TEMPLATE_ONLY}.*\n\n?", "", text, flags=re.MULTILINE)  # lines that hold nothing else
        document.write_text(text.replace("; project/ is about this repository alone", ""), **_ANY_ENCODING)
    if "### The package in rooms" in _text(changes):
        changes.write_text("# Changelog\n\n## 0.1.0 (unreleased)\n\n- Made from a template.\n", encoding="utf-8")


def _write_readme(path: Path, sections: dict[str, str], new: str) -> None:
    """Write the README of a new project, from sections of the template's."""
    first = f"# {new}\n\nWhat it is for, in a sentence. Made from a template, whose LICENSE says by whom. "
    first += f"[{_USE}]({_USE}) explains how to use it.\n\n"
    text = first + "".join(f"## {name}\n{body}" for name, body in sections.items() if name not in _DROPPED_SECTIONS)
    for pattern, by in (
        (r"^\*\*\.\.\. make it mine(.|\n)*?(?=^\*\*\.\.\.)", ""),
        (r"^\$ make test\n=.*\n", ""),  # how long this template's tests take
        (rf"^src/{_OLD}/  +", f"src/{new}/  ".ljust(_TREE_COLUMN)),
        (r"^docs/internals\.md ", f"{_USE:{_TREE_COLUMN}}how to use it\n\\g<0>"),
    ):
        text = re.sub(pattern, by, text, flags=re.MULTILINE)
    path.write_text(text.rstrip() + "\n", **_ANY_ENCODING)


def _allow_longer_lines(clone: Path) -> None:
    """Raise ruff's limit for docstrings and comments that a longer name has lengthened, in a formatted tree."""
    said = _ruff(clone, "check", "--output-format", "concise", "--select", "E501")
    longest = max(map(int, re.findall(r"Line too long \((\d+) > ", said)), default=0)
    if longest:
        path = clone / "pyproject.toml"
        heading = "[tool.ruff.lint.pycodestyle]\nmax-line-length = "
        text = re.sub(rf"\n{re.escape(heading)}.*\n", "", path.read_text(encoding="utf-8"))  # of an earlier renaming
        path.write_text(f"{text}\n{heading}{longest}  # of sentences\n", encoding="utf-8")


def _ruff(clone: Path, *arguments: str) -> str:
    """Return what ruff prints; nothing where it is not installed."""
    command = [sys.executable, "-m", "ruff", *arguments, "."]
    return subprocess.run(command, cwd=clone, check=False, capture_output=True, text=True).stdout


def _add_former_name(path: Path) -> None:
    """Add the old package name to the former names that saved configs may contain."""
    text = path.read_text(encoding="utf-8")
    line = f"FORMER: tuple[str, ...] = {(*FORMER, _OLD)!r}"
    path.write_text(re.sub(r"^FORMER: .*$", line, text, flags=re.MULTILINE), encoding="utf-8")


def _text(path: Path) -> str:
    return path.read_text(**_ANY_ENCODING) if path.is_file() else ""


def _git(clone: Path, *arguments: str) -> str:
    """Return what git prints; nothing where it finds nothing, which it tells by exit code 1."""
    try:
        done = subprocess.run(["git", *arguments], cwd=clone, check=False, capture_output=True)
    except FileNotFoundError:
        raise UserError("git is not installed: install it, so that the renaming can be undone.") from None
    if done.returncode > 1:
        raise UserError(f"git {arguments[0]}: {done.stderr.decode(errors='replace').strip()}")
    return os.fsdecode(done.stdout)


if __name__ == "__main__":
    try:
        files = rename(sys.argv[1] if len(sys.argv) == 2 else "", Path.cwd())
    except UserError as error:
        sys.exit(f"error: {error}\nusage: python -m {_OLD}.rename new_name, in the clone's top folder")
    print(f"{_OLD} is now {sys.argv[1]} in {len(files)} files; `make check test`, then commit.")  # noqa: T201
    print(f"{_TEMPLATE_ONLY}, about the template, is removed; {_USE} says how to use it.")  # noqa: T201
    print("Yours to fill: README.md, CHANGELOG.md, and the description in pyproject.toml.")  # noqa: T201
