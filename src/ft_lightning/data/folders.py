"""Walks a folder, skipping hidden and system files, and says what it skips; safe against link cycles."""

import os
import stat
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ft_lightning.readers.opening import SUFFIXES
from ft_lightning.system.errors import UserError, name_few, number_of, with_article

_SYSTEM_NAMES = frozenset(
    {"thumbs.db", "ehthumbs.db", "desktop.ini", "__macosx", "@eadir", "$recycle.bin", "system volume information"}
)
UNSUPPORTED = (
    frozenset(
        """.avif .cr2 .cr3 .arw .dcm .dng .eps .exr .hdr .heic .heif .icns .ico .j2k .jp2 .jxl .nef .nii .npy
    .orf .pbm .pcx .pgm .ppm .psd .raf .raw .rw2 .svg .svs .tga .xcf""".split()  # noqa: SIM905 (one line a suffix otherwise)
    )
    - SUFFIXES
)


@dataclass(frozen=True)
class FileKind:
    """Which files of a folder are samples, by their names."""

    noun: str  # of one sample
    suffixes: frozenset[str]
    advice: str  # what to do with files that have another name

    def has(self, path: Path) -> bool:
        """Return whether a file has such a name; says nothing about its content."""
        return path.suffix.lower() in self.suffixes


IMAGE_FILES = FileKind(
    "image",
    SUFFIXES,
    f"give those that are images their suffix ({', '.join(sorted(SUFFIXES))}), or convert them to PNG or JPEG",
)
TEXT_FILES = FileKind("text", frozenset({".txt"}), "give those that are texts the suffix .txt")


def walk(folder: Path, closed: Collection[str] = (), hidden: list[Path] | None = None) -> Iterator[Path]:
    """Yield every visible file below a folder in sorted order; follow links, but enter each real folder once.

    Args:
        closed: real paths of folders that no link may lead into.
        hidden: gets the hidden and system files and folders that are skipped.
    """
    entered = set(closed) - {os.path.realpath(folder)}
    pending = [folder]
    while pending:
        current = pending.pop()
        real = os.path.realpath(current)
        if real in entered:
            continue
        entered.add(real)
        folders, files = _visible(current, hidden)
        yield from files
        pending += reversed(folders)


def is_special(path: Path) -> bool:
    """Return whether a path, or what it links to, is a named pipe, a socket or a device."""
    try:
        kind = path.stat().st_mode
    except (OSError, ValueError):  # a link that leads to nothing
        return False
    return not (stat.S_ISREG(kind) or stat.S_ISDIR(kind))


def subfolders(folder: Path) -> list[str]:
    """Return the names of the visible subfolders, sorted."""
    return [path.name for path in _visible(folder)[0]]


def loose_files(folder: Path, hidden: list[Path] | None = None) -> list[Path]:
    """Return the visible files directly in a folder, sorted; `hidden` as in `walk`."""
    return _visible(folder, hidden)[1]


def left_out(others: Sequence[Path], hidden: Sequence[Path], kind: FileKind = IMAGE_FILES) -> str:
    """Say which files of a folder are not used, and what to do; empty if all are.

    Args:
        others: files without the name of a sample of that kind.
        hidden: hidden and system files and folders.
    """
    said = []
    if others:
        suffixes = {path.suffix.lower() for path in others}
        phone = kind is IMAGE_FILES and {".heic", ".heif"} & UNSUPPORTED & suffixes
        heif = ", or pip install pillow-heif for .heic" if phone else ""
        likely = sorted(others, key=lambda path: path.suffix.lower() not in UNSUPPORTED)  # to be images: first
        kinds = Counter(path.suffix.lower() or "without a suffix" for path in likely)
        counted = sorted(kinds.items(), key=lambda kind: (kind[0] not in UNSUPPORTED, -kind[1]))
        said.append(
            f"{number_of(len(others), 'file has', 'files have')} no name of {with_article(kind.noun)}: "
            f"{name_few(likely)} ({name_few([f'{count:,} {suffix}' for suffix, count in counted])}). They are not "
            f"used: {kind.advice}{heif}."
        )
    if hidden:
        skipped = number_of(len(hidden), "hidden or system file is", "hidden or system files are")
        said.append(f"{skipped} not used: {name_few(hidden)}.")
    return " ".join(said)


def unused(folder: Path, used: Collection[str]) -> list[str]:
    """Return the visible files below a folder that are not used, relative to the folder.

    Args:
        used: absolute paths; a link to one of them counts as used too.
    """
    top, known = Path(os.path.abspath(folder)), set(used)  # noqa: PTH100 (resolve() would follow links)
    rest = [path for path in walk(top) if str(path) not in known]
    if rest:
        known = {os.path.realpath(path) for path in used}
    return [path.relative_to(top).as_posix() for path in rest if os.path.realpath(path) not in known]


def passed_over(folder: Path) -> list[str]:
    """Return hidden and system files and folders below a folder, relative to it; does not list inside those folders."""
    found = []
    for where, folders, files in os.walk(folder):
        hidden = [name for name in (*folders, *files) if _is_hidden(name)]
        found += [os.path.relpath(os.path.join(where, name), folder) for name in hidden]  # noqa: PTH118
        folders[:] = [name for name in folders if not _is_hidden(name)]
    return sorted(found)


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name.lower() in _SYSTEM_NAMES


def _visible(folder: Path, hidden: list[Path] | None = None) -> tuple[list[Path], list[Path]]:
    """Return the visible folders and files in a folder, each sorted by name; add the others to `hidden`."""
    try:
        with os.scandir(folder) as entries:
            found = sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise UserError(f"{folder}: the folder cannot be listed ({error.strerror}); mend or remove it.") from error
    shown = [entry for entry in found if not _is_hidden(entry.name)]
    if hidden is not None:
        hidden += [Path(entry.path) for entry in found if _is_hidden(entry.name)]
    folders = [Path(entry.path) for entry in shown if _is_folder(entry)]
    return folders, [Path(entry.path) for entry in shown if not _is_folder(entry)]


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself, or into a place without permission
        return False
