"""Walks a folder, skipping hidden and system files; safe against cycles of links."""

import os
from collections.abc import Collection, Iterator
from pathlib import Path

from ft_lightning.readers.images import SUFFIXES
from ft_lightning.system.errors import UserError

_SYSTEM_NAMES = frozenset(
    {"thumbs.db", "ehthumbs.db", "desktop.ini", "__macosx", "@eadir", "$recycle.bin", "system volume information"}
)
UNSUPPORTED = frozenset(
    """.avif .cr2 .cr3 .arw .dcm .dng .eps .exr .hdr .heic .heif .icns .ico .j2k .jfif .jp2 .jpe .jxl .nef .nii .npy
    .orf .pbm .pcx .pgm .ppm .psd .raf .raw .rw2 .svg .svs .tga .xcf""".split()  # noqa: SIM905 (one line a suffix otherwise)
)


def walk(folder: Path, closed: Collection[str] = ()) -> Iterator[Path]:
    """Every visible file below a folder in sorted order; links are followed, but each real folder is entered once.

    Args:
        closed: real paths of folders that no link may lead into.
    """
    entered = set(closed) - {os.path.realpath(folder)}
    pending = [folder]
    while pending:
        current = pending.pop()
        real = os.path.realpath(current)
        if real in entered:
            continue
        entered.add(real)
        folders, files = _visible(current)
        yield from files
        pending += reversed(folders)


def subfolders(folder: Path) -> list[str]:
    """Their names, sorted."""
    return [path.name for path in _visible(folder)[0]]


def loose_images(folder: Path) -> list[str]:
    """The names of what looks like an image directly in a folder, sorted."""
    return [path.name for path in _visible(folder)[1] if path.suffix.lower() in SUFFIXES]


def unused(folder: Path, used: Collection[str]) -> list[str]:
    """The visible files below a folder that are none of the used ones, relative to the folder.

    Args:
        used: absolute paths; what leads to one of them by a link counts as used too.
    """
    top, known = Path(os.path.abspath(folder)), set(used)  # noqa: PTH100 (resolve() would follow links)
    rest = [path for path in walk(top) if str(path) not in known]
    if rest:
        known = {os.path.realpath(path) for path in used}
    return [path.relative_to(top).as_posix() for path in rest if os.path.realpath(path) not in known]


def passed_over(folder: Path) -> list[str]:
    """Hidden and system files and folders below a folder, relative to it; what is in those folders is not listed."""
    found = []
    for where, folders, files in os.walk(folder):
        hidden = [name for name in (*folders, *files) if _is_hidden(name)]
        found += [os.path.relpath(os.path.join(where, name), folder) for name in hidden]  # noqa: PTH118
        folders[:] = [name for name in folders if not _is_hidden(name)]
    return sorted(found)


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name.lower() in _SYSTEM_NAMES


def _visible(folder: Path) -> tuple[list[Path], list[Path]]:
    """The folders in a folder, and the files, each in order of name."""
    try:
        with os.scandir(folder) as entries:
            shown = sorted((entry for entry in entries if not _is_hidden(entry.name)), key=lambda entry: entry.name)
    except OSError as error:
        raise UserError(f"{folder}: the folder cannot be listed ({error.strerror}); mend or remove it.") from error
    folders = [Path(entry.path) for entry in shown if _is_folder(entry)]
    return folders, [Path(entry.path) for entry in shown if not _is_folder(entry)]


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself, or into what may not be looked at
        return False
