"""Finds the files that a model is to answer."""

import logging
from pathlib import Path

from ft_lightning.data.folders import IMAGE_FILES, FileKind, is_special, left_out, walk
from ft_lightning.system.errors import UserError, name_few, number_of
from ft_lightning.system.files import matches

log = logging.getLogger(__name__)


def find_files(pattern: str, kind: FileKind = IMAGE_FILES) -> list[Path]:
    """Return the files of a file name, a glob or a folder (searched recursively for such files), sorted.

    Warns of what it passes over: files of a folder without the name of one, folders that a glob matches, pipes.
    """
    path, said = Path(pattern).expanduser(), ""
    if path.exists() and not path.is_dir():
        return [path]
    if path.is_dir():
        hidden: list[Path] = []
        files = list(walk(path, hidden=hidden))
        found = list(filter(kind.has, files))
        said = left_out([file for file in files if not kind.has(file)], hidden, kind)
    else:
        matched = matches(path)
        found = [file for file in matched if not file.is_dir()]
        if (folders := [file for file in matched if file.is_dir()]) and "**" not in path.parts:
            said = number_of(len(folders), "folder that it matches is", "folders that it matches are")
            said += f" not searched: {name_few(folders)}."
    if special := {file for file in found if is_special(file)}:
        log.warning(
            "input=%s: %s passed over: %s.",
            pattern,
            number_of(len(special), "is no file and", "are no files and"),
            name_few(sorted(special)),
        )
        found = [file for file in found if file not in special]
    if not found:
        raise UserError(
            f"input={pattern} names no {kind.noun}: give a file, a folder, or a glob in double quotes, "
            f"'input=\"{'photos/**/*.jpg' if kind is IMAGE_FILES else 'mails/**/*.txt'}\"'. {said}".strip()
        )
    if said:
        log.warning("input=%s: %s", pattern, said)
    return sorted(found)
