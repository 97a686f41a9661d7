"""Reads a folder or a CSV of labelled images into samples, and reports what is wrong with it."""

import hashlib
import logging
import os
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path

from ft_lightning.data.folders import UNSUPPORTED, loose_images, subfolders, walk
from ft_lightning.data.memo import Memo, digest_files
from ft_lightning.readers.images import SUFFIXES
from ft_lightning.readers.sample import Sample
from ft_lightning.system.errors import UserError, name_few
from ft_lightning.system.tables import read_table

SPLITS = ("train", "val", "test")
_SPLIT_NAMES = {"training": "train", "valid": "val", "validation": "val", "dev": "val", "testing": "test"}
_SPLIT_NAMES |= {split: split for split in SPLITS}

log = logging.getLogger(__name__)
OnProblem = Callable[[str], None]
Entry = tuple[str, str, str | None, str | None]  # absolute path, label, split, group


def refuse(message: str) -> None:
    """Raise UserError; the default of `on_problem`."""
    raise UserError(message)


def scan(
    root: str | None, csv: str | None, case_sensitive: bool, memo: Memo | None = None, on_problem: OnProblem = refuse
) -> list[Sample]:
    """Return the samples of a folder, or of a CSV whose relative paths start at `root` or at the CSV's own folder.

    An unreadable file becomes a sample with a problem, so that all of them can be reported at once.

    Args:
        on_problem: called with each problem of the classes; if it returns, the scan goes on.
    """
    folder = Path(str(root)).expanduser() if root else None  # Hydra parses a folder called 2024 as a number
    if csv:
        return scan_csv(Path(str(csv)).expanduser(), folder, case_sensitive, memo, on_problem)
    if folder:
        return scan_folder(folder, case_sensitive, memo, on_problem)
    raise UserError(
        "data.root is not set: say data.root=/folder/of/class/folders, or write it in a conf/data file of your own."
    )


def scan_folder(
    root: Path, case_sensitive: bool, memo: Memo | None = None, on_problem: OnProblem = refuse
) -> list[Sample]:
    """Return the samples of `root/{train,val,test}/<class>/**` or `root/<class>/**`, sorted by name.

    Skips hidden and system files, and warns of unsupported image formats. Follows links, except into another class, the
    dataset's root or a folder above it, so that a cycle adds nothing.
    """
    if not root.is_dir():
        raise UserError(f"data.root={root}: {'a file, not a folder' if root.exists() else 'no such folder'}.")
    root = _absolute(root)
    tops = _split_folders(root)
    classes = [(top / name, name, split) for split, top in tops for name in _class_folders(root, top)]
    real_root = os.path.realpath(root)
    closed = {os.path.realpath(folder) for folder, _, _ in classes} | {os.path.realpath(top) for _, top in tops}
    closed |= {real_root, *map(str, Path(real_root).parents)}
    entries: list[Entry] = []
    unsupported: list[Path] = []
    empty: list[Path] = []
    for folder, label, split in classes:
        files = list(walk(folder, closed))
        images = [(str(path), label, split, None) for path in files if path.suffix.lower() in SUFFIXES]
        entries += images
        unsupported += [path for path in files if path.suffix.lower() in UNSUPPORTED]
        empty += [] if images else [folder]
    if unsupported:
        counts = Counter(path.suffix.lower() for path in unsupported)
        kinds = ", ".join(f"{count} {suffix}" for suffix, count in counts.most_common())
        log.warning("%s: %s files are not used (%s); convert them to PNG or JPEG.", root, kinds, name_few(unsupported))
    if empty:
        suffixes = ", ".join(sorted(SUFFIXES))
        on_problem(f"{name_few(empty)}: a class folder without images; add some ({suffixes}) or remove the folder.")
    _check_class_names({label for _, label, _, _ in entries}, case_sensitive, f"data.root={root}", on_problem)
    return samples_of(entries, root, memo)


def scan_csv(
    table: Path, root: Path | None, case_sensitive: bool, memo: Memo | None = None, on_problem: OnProblem = refuse
) -> list[Sample]:
    """Return the samples of a CSV with the columns path, label and, optionally, split and group, sorted by name.

    Relative paths start at `root`, or at the CSV's folder.
    """
    where = f"data.csv={table}"
    rows = read_table(table)
    if missing := [column for column in ("path", "label") if column not in rows.columns]:
        raise UserError(f"{where}: no column {missing[0]!r}; it has {', '.join(rows.columns)}.")
    if len(rows) == 0:
        raise UserError(f"{where} has no rows.")
    base = _absolute(root or table.parent)
    rows = rows.reindex(columns=["path", "label", "split", "group"], fill_value="")
    rows["path"] = paths = [str(_absolute(base / path)) for path in rows["path"]]
    entries = [(path, label, split or None, group or None) for path, label, split, group in rows.to_numpy()]
    if unknown := sorted(set(rows["split"]) - {*SPLITS, ""}):
        raise UserError(f"{where}: split {unknown[0]!r} is unknown; use train, val, test or leave it empty.")
    if (rows["split"] == "").nunique() == 2:
        raise UserError(f"{where}: some rows have a split and some have none; give all of them one, or none.")
    if nameless := [row for row, label in enumerate(rows["label"], start=2) if not label.strip()]:
        raise UserError(f"{where}: row {nameless[0]} has no label ({len(nameless)} such rows).")
    if not any(map(os.path.exists, paths)):  # Path.exists raises where a name is too long
        raise UserError(f"{where} names {len(paths)} files, none of which exists: {name_few(paths)}. Set data.root.")
    if repeated := [path for path, count in Counter(paths).items() if count > 1]:
        raise UserError(f"{where} names {len(repeated)} files more than once: {name_few(repeated)}.")
    _check_class_names(set(rows["label"]), case_sensitive, where, on_problem)
    return samples_of(entries, base, memo)


def _split_folders(root: Path) -> list[tuple[str | None, Path]]:
    """Return the folders that hold class folders: one for each split, or the root itself."""
    folders = subfolders(root)
    meant = {name: _SPLIT_NAMES[name.casefold()] for name in folders if name.casefold() in _SPLIT_NAMES}
    # A class may be called train, beside bus and car; then it holds images, while a split holds folders.
    with_folders = {split for name, split in meant.items() if subfolders(root / name)}
    all_meant = bool(meant) and len(meant) == len(folders)
    if all_meant and not with_folders:
        raise UserError(
            f"data.root={root}: {name_few(folders)} read as splits but hold no class folders: <split>/<class>/<image>."
        )
    if not (all_meant or "train" in with_folders):
        return [(None, root)]
    if wrong := [name for name, split in meant.items() if name != split]:
        raise UserError(f"{root / wrong[0]}: name it {meant[wrong[0]]!r} (splits are train, val and test).")
    if unused := [name for name in folders if name not in meant]:
        log.warning("%s: the folders beside %s are not used: %s.", root, name_few(list(meant)), name_few(unused))
    return [(split, root / split) for split in SPLITS if split in meant]


def _class_folders(root: Path, top: Path) -> list[str]:
    names, loose = subfolders(top), loose_images(top)
    if not names:
        there = f"{len(loose)} images lie directly in it" if loose else "it is empty"
        raise UserError(f"data.root={root}: no class folders in {top}, {there}; expected <class>/<image>.")
    if loose:
        log.warning("%s: %d images beside the class folders are not used: %s.", top, len(loose), name_few(loose))
    return names


def _check_class_names(names: set[str], case_sensitive: bool, where: str, on_problem: OnProblem) -> None:
    ways: list[tuple[Callable[[str], str], str]] = [(_tidy, "rename one")]
    if not case_sensitive:
        ways.append((str.casefold, "rename one, or set data.case_sensitive=true if they are two classes"))
    for reading, fix in ways:
        alike: dict[str, list[str]] = defaultdict(list)
        for name in sorted(names):
            alike[reading(name)].append(name)
        for group in alike.values():
            if len(group) > 1:
                on_problem(f"{where}: the classes {' and '.join(map(ascii, group))} read the same: {fix}.")
        names = {_tidy(name) for name in names}  # so that none is reported twice


def samples_of(entries: list[Entry], base: Path, memo: Memo | None) -> list[Sample]:
    """Return the samples of these files, sorted by name, which is the path relative to `base`; read each file once.

    Args:
        memo: files that it knows are not read again.
    """
    # Surrogates stand for bytes of a name that Python cannot decode.
    if undecodable := [ascii(path) for path, label, *_ in entries if re.search("[\ud800-\udfff]", path + label)]:
        raise UserError(
            f"{len(undecodable)} file names are not valid UTF-8: {name_few(undecodable)}. Rename the files."
        )
    samples = []
    digests = digest_files([path for path, *_ in entries], memo)
    for (path, label, split, group), (digest, problem) in zip(entries, digests, strict=True):
        place = Path(path)
        name = (place.relative_to(base) if place.is_relative_to(base) else place).as_posix()
        identity = digest or hashlib.sha256(f"no bytes: {name}".encode()).hexdigest()
        samples.append(Sample(path, name, _tidy(label), identity, split, group, problem))
    return sorted(samples, key=lambda sample: sample.name)


def _absolute(path: Path) -> Path:
    return Path(os.path.normpath(path.absolute()))  # resolve() would follow links, and names would change with them


def _tidy(label: str) -> str:
    return unicodedata.normalize("NFC", label).strip()
