"""Lists the labelled files of a folder, and reports what is wrong with it; `table` does so for a CSV of images."""

import logging
import os
from collections.abc import Sequence
from pathlib import Path

from ft_lightning.data.folders import IMAGE_FILES, FileKind, left_out, loose_files, subfolders, walk
from ft_lightning.data.scan import SPLITS, Entry, Listing, OnProblem, absolute, split_called
from ft_lightning.data.table import list_table
from ft_lightning.system.errors import UserError, name_few, number_of

log = logging.getLogger(__name__)

A_FINDING = {"a_finding": True}  # marks a warning that `check` has as a finding too


def find_images(
    root: str | None,
    csv: str | None,
    on_problem: OnProblem,
    label: str | Sequence[str] | None = None,
    weight: str | None = None,
) -> Listing:
    """List a folder, or a CSV whose relative paths start at `root` or at the CSV's own folder.

    Args:
        label: the CSV's column with the label, or several; None: the one called label.
        weight: the CSV's column with the samples' weights; None: all count alike.
    """
    folder = Path(str(root)).expanduser() if root else None  # Hydra parses a folder called 2024 as a number
    if csv:
        return list_table(Path(str(csv)).expanduser(), folder, label, weight)
    for key, named in (("label", label), ("weight", weight)):
        if named is not None:
            raise UserError(f"data.{key}={named} names columns of a table, but there is none: set data.csv.")
    if folder:
        return list_folder(folder, on_problem)
    raise UserError(
        "data.root is not set: say data.root=/folder/of/class/folders, or write it in a conf/data file of your own."
    )


def list_folder(root: Path, on_problem: OnProblem, kind: FileKind = IMAGE_FILES) -> Listing:
    """List the files of a kind in `root/{train,val,test}/<class>/**` or `root/<class>/**`.

    Warns of every file that is not used. Follows links, except into another class, the dataset's root or a folder above
    it, so that a cycle adds nothing.
    """
    if not root.is_dir():
        raise UserError(f"data.root={root}: {'a file, not a folder' if root.exists() else 'no such folder'}.")
    root = absolute(root)
    tops = _split_folders(root, kind)
    classes = [(top / name, name, split) for split, top in tops for name in _class_folders(root, top, kind)]
    real_root = os.path.realpath(root)
    closed = {os.path.realpath(folder) for folder, _, _ in classes} | {os.path.realpath(top) for _, top in tops}
    closed |= {real_root, *map(str, Path(real_root).parents)}
    hidden: list[Path] = []
    loose = [path for top in dict.fromkeys([root, *(top for _, top in tops)]) for path in loose_files(top, hidden)]
    entries: list[Entry] = []
    others = [path for path in loose if not kind.has(path)]
    empty: list[Path] = []
    for folder, label, split in classes:
        files = list(walk(folder, closed, hidden))
        samples = [Entry(str(path), label, split) for path in files if kind.has(path)]
        entries += samples
        others += [path for path in files if not kind.has(path)]
        empty += [] if samples else [folder]
    if beside := [path for path in loose if kind.has(path)]:
        where = "beside the class folders"
        number = number_of(len(beside), f"{kind.noun} {where} is", f"{kind.noun}s {where} are")
        log.warning("%s: %s not used: %s.", root, number, name_few(beside), extra=A_FINDING)
    if said := left_out(others, hidden, kind):
        log.warning("%s: %s", root, said, extra=A_FINDING)
    if empty:
        suffixes = ", ".join(sorted(kind.suffixes))
        on_problem(
            f"{name_few(empty)}: a class folder without {kind.noun}s; add some ({suffixes}) or remove the folder."
        )
    return Listing(entries, root)


def _split_folders(root: Path, kind: FileKind) -> list[tuple[str | None, Path]]:
    """Return the folders that hold class folders: one for each split, or the root itself."""
    folders = subfolders(root)
    meant = {name: split for name in folders if (split := split_called(name))}
    # A class may be called train, beside bus and car; then it holds images, while a split holds folders.
    with_folders = {split for name, split in meant.items() if subfolders(root / name)}
    all_meant = bool(meant) and len(meant) == len(folders)
    if all_meant and not with_folders:
        raise UserError(
            f"data.root={root}: {name_few(folders)} read as splits but hold no class folders: "
            f"<split>/<class>/<{kind.noun}>."
        )
    if not (all_meant or "train" in with_folders):
        return [(None, root)]
    called = {split: [name for name in meant if meant[name] == split] for split in SPLITS}
    for split, names in called.items():
        if len(names) > 1:
            raise UserError(f"data.root={root}: the folders {' and '.join(names)} both read as {split}: rename one.")
        if names and names != [split]:
            log.warning("%s is used as %s.", root / names[0], split)
    if unused := [name for name in folders if name not in meant]:
        log.warning(
            "%s: %s beside %s not used: %s.",
            root,
            number_of(len(unused), "folder"),
            f"{name_few(list(meant))} {'is' if len(unused) == 1 else 'are'}",
            name_few(unused),
        )
    return [(split, root / names[0]) for split, names in called.items() if names]


def _class_folders(root: Path, top: Path, kind: FileKind) -> list[str]:
    if names := subfolders(top):
        return names
    loose = list(filter(kind.has, loose_files(top)))
    lies = number_of(len(loose), f"{kind.noun} lies", f"{kind.noun}s lie")
    there = f"{lies} directly in it" if loose else "it is empty"
    raise UserError(f"data.root={root}: no class folders in {top}, {there}; expected <class>/<{kind.noun}>.")
