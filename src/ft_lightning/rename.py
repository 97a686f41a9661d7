"""`python -m ft_lightning.rename my_project`: make a clone yours, package, commands and documents alike."""

import importlib.util
import keyword
import re
import subprocess
import sys
import tomllib
from pathlib import Path

from ft_lightning.system.errors import UserError

_OLD = Path(__file__).parent.name
# About the template itself, and no use to what is made of it.
_THE_TEMPLATE_S = ("tests/project", "tests/PROMISES.md", "docs/measured.md", "benchmarks/NOTES.md")
# Stays word for word: the notice that the licence asks for, and runs of the time before.
_AS_IT_IS = ("LICENSE", "tests/old")
_KEPT_SECTIONS = ("Two commands", "The tree", "I want to ...")  # of README


def rename(new: str, clone: Path) -> list[Path]:
    """Give a clone's package, console script, tests and documents another name; returns the changed files.

    Runs made before go on under the new name. The template's README makes room for a shorter one, its CHANGELOG and
    the tests about the template itself go. LICENSE keeps its notice.

    Raises:
        UserError: the name is taken or none, or `clone` is no clone, or has changes that are not committed.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]*", new) or keyword.iskeyword(new) or importlib.util.find_spec(new):
        raise UserError(f"{new!r} is no free package name: use lower-case letters, digits and _, and none that exists.")
    if not (clone / ".git").exists() or not (clone / "src" / _OLD).is_dir():
        raise UserError(f"{clone} is not the top folder of a clone with src/{_OLD}: change into it first.")
    if _git(clone, "status", "--porcelain"):
        raise UserError(
            f"{clone} has uncommitted changes: commit them first, so that the renaming can be undone alone."
        )
    _git(clone, "rm", "-rq", "--ignore-unmatch", *_THE_TEMPLATE_S)
    _make_room(clone, new)
    changed = []
    except_for = [f":!{place}" for place in _AS_IT_IS]
    spellings = {_OLD: new, _OLD.replace("_", "-"): new.replace("_", "-")}
    words = [word for spelling in spellings for word in ("-e", spelling)]
    for name in _git(clone, "grep", "-lI", *words, "--", ".", *except_for).splitlines():
        text = (clone / name).read_text(encoding="utf-8")
        for old, now in spellings.items():
            text = text.replace(old, now)
        (clone / name).write_text(text, encoding="utf-8")
        changed.append(clone / name)
    _git(clone, "mv", f"src/{_OLD}", f"src/{new}")
    _remember(clone / f"src/{new}/runs/names.py")
    _allow_longer_lines(clone)
    for command in (["check", "--select", "I", "--fix"], ["format"]):  # names of another length and place
        subprocess.run([sys.executable, "-m", "ruff", *command, "--quiet", "."], cwd=clone, check=False)
    return changed


def _make_room(clone: Path, new: str) -> None:
    """Put a README and a CHANGELOG to be filled in the place of the template's, unless they are somebody's own."""
    readme, documents = clone / "README.md", [*(clone / "docs").glob("*.md")]
    title, *parts = re.split(r"^## ", _text(readme), flags=re.MULTILINE)
    sections = {heading: body for heading, _, body in (part.partition("\n") for part in parts)}
    if title.startswith(f"# {_OLD}\n") and sections.keys() >= set(_KEPT_SECTIONS):
        first = f"# {new}\n\nWhat it is for, in a sentence. Made from a template, whose LICENSE says by whom.\n\n"
        text = first + "".join(f"## {heading}\n{sections[heading]}" for heading in _KEPT_SECTIONS)
        text = re.sub(r"^\*\*\.\.\. make it mine(.|\n)*", "", text, flags=re.MULTILINE)
        readme.write_text(text.rstrip() + "\n", encoding="utf-8")
        documents.append(readme)
    gone = "|".join([*map(re.escape, _THE_TEMPLATE_S), r"\(measured\.md"])
    for document in documents:  # a line each, which says nothing else
        text = re.sub(rf"^.*({gone}).*\n\n?", "", _text(document), flags=re.MULTILINE)
        document.write_text(text, encoding="utf-8")
    changes = clone / "CHANGELOG.md"
    if _OLD in _text(changes):
        changes.write_text("# Changelog\n\n## 0.1.0 (unreleased)\n\n- Made from a template.\n", encoding="utf-8")


def _allow_longer_lines(clone: Path) -> None:
    """Have ruff bear what a long name makes of the sentences that it stands in; code is laid out anew."""
    files = [clone / name for name in _git(clone, "ls-files", "*.py").splitlines()]
    longest = max(len(line) for file in files for line in file.read_text(encoding="utf-8").splitlines())
    path = clone / "pyproject.toml"
    settings = tomllib.loads(path.read_text(encoding="utf-8"))["tool"]["ruff"]
    if longest > settings["line-length"]:
        with path.open("a", encoding="utf-8") as file:
            file.write(f"\n[tool.ruff.lint.pycodestyle]\nmax-line-length = {longest}  # of sentences\n")


def _remember(path: Path) -> None:
    """Add the name that a package had to those under which kept configs know it."""
    text = path.read_text(encoding="utf-8")
    path.write_text(re.sub(r"^(FORMER.* = \(.*)\)$", rf'\1"{_OLD}",)', text, flags=re.MULTILINE), encoding="utf-8")


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def _git(clone: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=clone, check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    try:
        files = rename(sys.argv[1] if len(sys.argv) == 2 else "", Path.cwd())
    except UserError as error:
        sys.exit(f"error: {error}\nusage: python -m {_OLD}.rename new_name, in the clone's top folder")
    print(f"{_OLD} is now {sys.argv[1]} in {len(files)} files; `make check test`, then commit.")  # noqa: T201
