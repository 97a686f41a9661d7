"""`python -m ft_lightning.rename NAME`: make a clone yours, package, commands and documents alike."""

import importlib.util
import keyword
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

from ft_lightning.runs.names import FORMER
from ft_lightning.system.errors import UserError

_OLD = Path(__file__).parent.name
_NAMES = rf"\b({_OLD}|{_OLD.replace('_', '-')})\b"  # the package and the console script
# About the template itself, and of no use to a project made from it.
_TEMPLATE_ONLY = ("tests/project", "tests/PROMISES.md", "docs/measured.md", "benchmarks/NOTES.md")
# Stay word for word: the notice that the licence requires, and runs of earlier versions.
_UNCHANGED = ("LICENSE", "tests/old")
_ANY_ENCODING: dict[str, Any] = {"encoding": "utf-8", "errors": "surrogateescape"}
_KEPT_SECTIONS = ("Two commands", "The tree", "I want to ...")  # of README, beside those that the user has added
_DROPPED_SECTIONS = ("Use it", "Measured", "Develop")


def rename(new: str, clone: Path) -> list[Path]:
    """Rename a clone's package, console script, tests and documents; return the changed files.

    Earlier runs can be resumed under the new name. A shorter README and an empty CHANGELOG replace the template's; the
    tests about the template itself are removed. LICENSE keeps its notice.

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
    elsewhere = [":!README.md", *(f":!{place}" for place in _TEMPLATE_ONLY)]  # which are replaced or removed
    if importlib.util.find_spec(new) or _git(clone, "grep", "-lIw", "-e", new, "--", ".", *except_for, *elsewhere):
        raise UserError(f"{new!r} is taken: by a package that is installed, or by a word in these files; use another.")
    _git(clone, "rm", "-rq", "--ignore-unmatch", *_TEMPLATE_ONLY)
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
    _allow_longer_lines(clone)
    for command in (["check", "--select", "I", "--fix"], ["format"]):  # names of another length and place
        subprocess.run([sys.executable, "-m", "ruff", *command, "--quiet", "."], cwd=clone, check=False)
    return changed


def _rewrite(path: Path, new: str) -> None:
    """Write the new name for the old one, where it is a word, whatever the file's encoding and line ends."""

    def spelled(match: re.Match[bytes]) -> bytes:
        return (new.replace("_", "-") if b"-" in match[0] else new).encode()

    path.write_bytes(re.sub(_NAMES.encode(), spelled, path.read_bytes()))


def _replace_documents(clone: Path, new: str) -> None:
    """Replace the template's README and CHANGELOG with short ones to fill in, unless the user has rewritten them."""
    readme, internals, changes = (clone / name for name in ("README.md", "docs/internals.md", "CHANGELOG.md"))
    documents = [internals] if internals.is_file() else []
    title, *parts = re.split(r"^## ", _text(readme), flags=re.MULTILINE)
    sections = {heading: body for heading, _, body in (part.partition("\n") for part in parts)}
    if title.startswith(f"# {_OLD}\n") and sections.keys() >= set(_KEPT_SECTIONS):
        first = f"# {new}\n\nWhat it is for, in a sentence. Made from a template, whose LICENSE says by whom.\n\n"
        kept = [heading for heading in sections if heading not in _DROPPED_SECTIONS]
        text = first + "".join(f"## {heading}\n{sections[heading]}" for heading in kept)
        text = re.sub(r"^\*\*\.\.\. make it mine(.|\n)*?(?=^\*\*\.\.\.)", "", text, flags=re.MULTILINE)
        text = re.sub(r"^\$ make test\n=.*\n", "", text, flags=re.MULTILINE)  # how long this template's tests take
        readme.write_text(text.rstrip() + "\n", **_ANY_ENCODING)
        documents.append(readme)
    gone = "|".join([*map(re.escape, _TEMPLATE_ONLY), r"\(measured\.md"])
    for document in documents:  # whole lines, which hold nothing else
        text = re.sub(rf"^.*({gone}).*\n\n?", "", _text(document), flags=re.MULTILINE)
        document.write_text(text.replace("; project/ is about this repository alone", ""), **_ANY_ENCODING)
    if "### The package in rooms" in _text(changes):
        changes.write_text("# Changelog\n\n## 0.1.0 (unreleased)\n\n- Made from a template.\n", encoding="utf-8")


def _allow_longer_lines(clone: Path) -> None:
    """Raise ruff's limit for docstrings and comments that a longer name has lengthened; code is reformatted."""
    files = filter(Path.is_file, (clone / name for name in _git(clone, "ls-files", "-z", "*.py").split("\0")))
    lines = (line for file in files for line in _text(file).splitlines())
    longest = max(len(line) for line in lines if not line.endswith("# noqa: E501"))
    path = clone / "pyproject.toml"
    text = path.read_text(encoding="utf-8")
    if longest > tomllib.loads(text)["tool"]["ruff"]["line-length"]:
        heading = "[tool.ruff.lint.pycodestyle]\nmax-line-length = "
        text = re.sub(rf"\n{re.escape(heading)}.*\n", "", text)  # of an earlier renaming
        path.write_text(f"{text}\n{heading}{longest}  # of sentences\n", encoding="utf-8")


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
    gone = ", ".join(_TEMPLATE_ONLY)
    print(f"{_OLD} is now {sys.argv[1]} in {len(files)} files; `make check test`, then commit.")  # noqa: T201
    print(f"README.md and CHANGELOG.md are new ones to fill; removed, as about the template: {gone}.")  # noqa: T201
