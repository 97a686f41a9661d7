"""Lists the labelled images of a folder or a CSV, and reports what is wrong with either."""

import logging
import os
from collections import Counter
from pathlib import Path

from ft_lightning.data.folders import UNSUPPORTED, loose_images, subfolders, walk
from ft_lightning.data.scan import SPLITS, Entry, Listing, OnProblem, absolute
from ft_lightning.readers.opening import SUFFIXES
from ft_lightning.system.errors import UserError, name_few
from ft_lightning.system.tables import read_table

_SPLIT_NAMES = {"training": "train", "valid": "val", "validation": "val", "dev": "val", "testing": "test"}
_SPLIT_NAMES |= {split: split for split in SPLITS}

log = logging.getLogger(__name__)


def find_images(root: str | None, csv: str | None, on_problem: OnProblem) -> Listing:
    """List a folder, or a CSV whose relative paths start at `root` or at the CSV's own folder."""
    folder = Path(str(root)).expanduser() if root else None  # Hydra parses a folder called 2024 as a number
    if csv:
        return _of_table(Path(str(csv)).expanduser(), folder)
    if folder:
        return _of_folder(folder, on_problem)
    raise UserError(
        "data.root is not set: say data.root=/folder/of/class/folders, or write it in a conf/data file of your own."
    )


def _of_folder(root: Path, on_problem: OnProblem) -> Listing:
    """List `root/{train,val,test}/<class>/**` or `root/<class>/**`.

    Skips hidden and system files, and warns of unsupported image formats. Follows links, except into another class, the
    dataset's root or a folder above it, so that a cycle adds nothing.
    """
    if not root.is_dir():
        raise UserError(f"data.root={root}: {'a file, not a folder' if root.exists() else 'no such folder'}.")
    root = absolute(root)
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
        images = [Entry(str(path), label, split) for path in files if path.suffix.lower() in SUFFIXES]
        entries += images
        unsupported += [path for path in files if path.suffix.lower() in UNSUPPORTED]
        empty += [] if images else [folder]
    if unsupported:
        counts = Counter(path.suffix.lower() for path in unsupported)
        kinds = ", ".join(f"{count} {suffix}" for suffix, count in counts.most_common())
        heif = ", or pip install pillow-heif for .heic" if counts[".heic"] + counts[".heif"] else ""
        log.warning(
            "%s: %s files are not used (%s); convert them to PNG or JPEG%s.", root, kinds, name_few(unsupported), heif
        )
    if empty:
        suffixes = ", ".join(sorted(SUFFIXES))
        on_problem(f"{name_few(empty)}: a class folder without images; add some ({suffixes}) or remove the folder.")
    return Listing(entries, root)


def _of_table(table: Path, root: Path | None) -> Listing:
    """List a CSV with the columns path, label and, optionally, split and group."""
    where = f"data.csv={table}"
    rows = read_table(table)
    if missing := [column for column in ("path", "label") if column not in rows.columns]:
        raise UserError(f"{where}: no column {missing[0]!r}; it has {', '.join(rows.columns)}.")
    if len(rows) == 0:
        raise UserError(f"{where} has no rows.")
    base = absolute(root or table.parent)
    rows = rows.reindex(columns=["path", "label", "split", "group"], fill_value="")
    rows["path"] = paths = [str(absolute(base / path)) for path in rows["path"]]
    entries = [Entry(path, label, split or None, group or None) for path, label, split, group in rows.to_numpy()]
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
    return Listing(entries, base)


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
