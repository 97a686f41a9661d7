"""Questions for shell commands as a table, from a package that an installation fetches into the cache."""

import json
import logging
import tarfile
from collections.abc import Iterator
from itertools import groupby, pairwise
from pathlib import Path, PurePosixPath

from platformdirs import user_cache_path

from ft_lightning.data.packages import package
from ft_lightning.system.files import replacing

PACKAGE = "eg-1.2.3.tar.gz"  # as in requirements-data.txt
_SHA256 = "31f221b24701a9fc4b034d9593f081859d943b14bf26b2e98190509b64e2622b"
_FOLDER = "eg-1.2.3/eg/examples"  # of a file of Markdown for each tool
_LONGEST_QUESTION, _LONGEST_ANSWER = 240, 100  # characters
_SOURCE = "questions for shell commands, from the examples of eg 1.2.3 (Sam Sudar), MIT licence"

log = logging.getLogger(__name__)


def write_commands() -> Path:
    """Write the pairs once, as <user cache>/ft_lightning/commands-1.jsonl; return it.

    Raises:
        UserError: the package is not there, or has other bytes.
    """
    table = user_cache_path("ft_lightning") / "commands-1.jsonl"
    if not table.is_file():
        instead = "Questions of your own: data=instructions data.table=/questions.jsonl."
        file = package(PACKAGE, _SHA256, "data=commands", instead)
        with replacing(table) as temporary, temporary.open("w", encoding="utf-8") as lines:
            for prompt, completion in _pairs(file):
                lines.write(json.dumps({"prompt": prompt, "completion": completion}, ensure_ascii=False) + "\n")
        log.warning("data=commands: %s.", _SOURCE)
    return table


def _pairs(file: Path) -> list[tuple[str, str]]:
    """Return what is asked of a tool and the command that does it, each pair once."""
    found: list[tuple[str, str]] = []
    with tarfile.open(file) as archive:
        for member in sorted(archive.getmembers(), key=lambda member: member.name):
            name = PurePosixPath(member.name)
            content = archive.extractfile(member)
            if content is None or str(name.parent) != _FOLDER or name.suffix != ".md":
                continue
            for said, command in examples_in(content.read().decode("utf-8")):
                found.append((f"{name.stem}: {said}", command))
    return list(dict.fromkeys(found))


def examples_in(markdown: str) -> Iterator[tuple[str, str]]:
    """Yield each short paragraph that a single command follows, and that command.

    A paragraph that several commands follow is passed over, and so are commands of several lines: what would be the
    right answer?
    """
    blocks = [
        (kind, [line.strip() for line in lines])
        for kind, lines in groupby(filter(str.strip, _with_ends(markdown)), key=_kind)
        if kind != "end"
    ]
    for (before, said), (after, code) in pairwise(blocks):
        if (before, after) != ("text", "code"):
            continue
        text, typed = " ".join(said).rstrip(":"), [line for line in code if line.startswith("$ ")]
        command = code[0].removeprefix("$ ")  # what follows is its output
        alone = typed == code[:1] or len(code) == 1
        if not alone or len(text) > _LONGEST_QUESTION or len(command) > _LONGEST_ANSWER or "following" in text:
            continue
        yield text, command


def _with_ends(markdown: str) -> Iterator[str]:
    """Yield the lines; between two paragraphs a line that ends one."""
    lines = markdown.splitlines()
    for line, following in pairwise([*lines, ""]):
        yield line
        if _kind(line) == "text" and not following.strip():
            yield _END


_END = "\0"


def _kind(line: str) -> str:
    return "end" if line == _END else "code" if line.startswith("    ") else "head" if line.startswith("#") else "text"
