"""A folder or a CSV of labelled images -> samples, or every reason why not."""

import hashlib
import logging
import os
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from ft_lightning.errors import UserError
from ft_lightning.images import SUFFIXES
from ft_lightning.tables import read_table

SPLITS = ("train", "val", "test")
_OTHER_IMAGES = frozenset(
    ".heic .heif .avif .jp2 .jxl .svg .psd .ico .tga .ppm .pgm .dcm .nef .cr2 .cr3 .arw .dng .raw .exr .hdr .jfif .npy .pdf".split()
)
_SYSTEM_NAMES = frozenset({"thumbs.db", "desktop.ini", "__macosx"})
_SPLIT_LOOKALIKES = {"valid": "val", "validation": "val", "training": "train", "testing": "test", "dev": "val"}
_SHOWN = 5

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Sample:
    """One labelled image; its identity is the digest of the file's bytes."""

    path: str  # absolute
    name: str  # as the dataset calls it: relative to its root, with forward slashes
    label: str
    digest: str  # sha256 of the file's bytes
    split: str | None = None  # what the layout or the CSV says
    group: str | None = None


def scan_folder(root: Path, case_sensitive: bool) -> list[Sample]:
    """The samples of `root/{train,val,test}/<class>/**` or `root/<class>/**`, sorted by name.

    Hidden and system files are passed over, images of unsupported kinds reported. Links are followed, each folder once.

    Raises:
        UserError: no such folder, no classes in it, an empty class, colliding class names, broken links.
    """
    if not root.is_dir():
        raise UserError(f"data.root={root}: {'this is a file, not' if root.exists() else 'no such'} a folder.")
    folders = _subfolders(root)
    lookalike = next((name for name in folders if _SPLIT_LOOKALIKES.get(name.lower()) and "train" in folders), None)
    if lookalike:
        raise UserError(f"{root / lookalike}: name it {_SPLIT_LOOKALIKES[lookalike.lower()]!r} (splits are train, val and test).")
    splits: list[str | None] = [name for name in SPLITS if name in folders] if "train" in folders else [None]
    entries: list[tuple[str, str, str | None]] = []
    for split in splits:
        top = root / split if split else root
        classes = _subfolders(top)
        if not classes:
            raise UserError(f"data.root={root}: no class folders in {top}; expected <class>/<image> there.")
        _report_stray(top)
        for name in classes:
            files = list(_images(top / name))
            if not files:
                raise UserError(f"{top / name}: a class folder without images; add some or remove the folder.")
            entries += [(str(file), name, split) for file in files]
    _check_class_names({label for _, label, _ in entries}, case_sensitive, str(root))
    return _with_digests(entries, root)


def scan_csv(table: Path, root: Path | None, case_sensitive: bool) -> list[Sample]:
    """The samples of a CSV with the columns path, label and, if wanted, split and group.

    Relative paths start at `root`, or at the CSV's folder.

    Raises:
        UserError: no such file, missing columns, files that do not exist, unknown splits, colliding class names.
    """
    rows = read_table(table)
    if missing := [column for column in ("path", "label") if column not in rows.columns]:
        raise UserError(f"data.csv={table}: no column {missing[0]!r}; it has {', '.join(rows.columns)}.")
    if len(rows) == 0:
        raise UserError(f"data.csv={table} has no rows.")
    base = root or table.parent
    splits = rows["split"].tolist() if "split" in rows.columns else [""] * len(rows)
    if unknown := sorted(set(splits) - {*SPLITS, ""}):
        raise UserError(f"data.csv={table}: split {unknown[0]!r} is unknown; use train, val, test or leave it empty.")
    if any(splits) and not all(splits):
        raise UserError(f"data.csv={table}: some rows have a split and some have none; give all of them one, or none.")
    labels = [unicodedata.normalize("NFC", label.strip()) for label in rows["label"]]
    if "" in labels:
        raise UserError(f"data.csv={table}: row {labels.index('') + 2} has no label.")
    paths = [str(base / path) for path in rows["path"]]
    gone = [path for path in paths if not Path(path).is_file()]
    if gone:
        raise UserError(f"data.csv={table} names {len(gone)} files that do not exist: {some(gone)}.")
    if repeated := [path for path, count in Counter(paths).items() if count > 1]:
        raise UserError(f"data.csv={table} names {len(repeated)} files more than once: {some(repeated)}.")
    _check_class_names(set(labels), case_sensitive, str(table))
    entries = [(path, label, split or None) for path, label, split in zip(paths, labels, splits, strict=True)]
    samples = _with_digests(entries, base)
    if "group" not in rows.columns:
        return samples
    groups = dict(zip(paths, rows["group"], strict=True))
    return [replace(sample, group=groups[sample.path] or None) for sample in samples]


def class_map(samples: Iterable[Sample]) -> list[str]:
    """The classes of train, sorted by name; their position is the index that everything else uses.

    Raises:
        UserError: fewer than two classes, or another split has a class that train does not know.
    """
    by_split: dict[str | None, set[str]] = defaultdict(set)
    for sample in samples:
        by_split[sample.split].add(sample.label)
    names = sorted(by_split.get("train", set()) | by_split.get(None, set()))
    for split, labels in by_split.items():
        if unknown := sorted(labels - set(names)):
            raise UserError(
                f"The {split} split has {len(unknown)} classes that train does not know: {some(unknown)}. "
                "Add them to train, or take them out."
            )
    if len(names) < 2:
        raise UserError(f"The data has one class only ({some(names)}): a classifier needs at least two.")
    return names


def refuse_conflicting_labels(samples: Iterable[Sample]) -> None:
    """Raise UserError where the same bytes stand under two labels: one of them must be wrong."""
    first: dict[str, Sample] = {}
    conflicts = []
    for sample in samples:
        other = first.setdefault(sample.digest, sample)
        if other.label != sample.label:
            conflicts.append(f"{other.name} and {sample.name}")
    if conflicts:
        raise UserError(f"{len(conflicts)} times the same picture has two labels: {some(conflicts)}. Keep one of each.")


def some(names: list[str]) -> str:
    """A few of them, for a message."""
    return ", ".join(map(str, names[:_SHOWN])) + (", ..." if len(names) > _SHOWN else "")


def _subfolders(folder: Path) -> list[str]:
    return sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and not _is_hidden(entry.name))


def _images(folder: Path) -> Iterator[Path]:
    """Image files below a folder in sorted order, each real folder once: a link may lead back to where it came from."""
    unsupported: Counter[str] = Counter()
    broken: list[str] = []
    visited: set[str] = set()
    pending = [folder]
    while pending:
        current = pending.pop()
        real = os.path.realpath(current)
        if real in visited:
            continue
        visited.add(real)
        entries = sorted((entry for entry in os.scandir(current) if not _is_hidden(entry.name)), key=lambda e: e.name)
        pending += [Path(entry.path) for entry in reversed(entries) if entry.is_dir()]
        for entry in entries:
            suffix = Path(entry.name).suffix.lower()
            if suffix in SUFFIXES and entry.is_file():
                yield Path(entry.path)
            elif suffix in SUFFIXES and not entry.is_dir():
                broken.append(entry.path)
            elif suffix in _OTHER_IMAGES:
                unsupported[suffix] += 1
    if broken:
        raise UserError(f"{len(broken)} links lead to nothing: {some(broken)}. Mend or remove them.")
    if unsupported:
        kinds = ", ".join(f"{count} {suffix}" for suffix, count in unsupported.items())
        log.warning("%s: %s files are not used; convert them to PNG or JPEG.", folder, kinds)


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name.lower() in _SYSTEM_NAMES


def _report_stray(folder: Path) -> None:
    stray = [e.name for e in os.scandir(folder) if e.is_file() and not _is_hidden(e.name) and Path(e.name).suffix.lower() in SUFFIXES]
    if stray:
        log.warning("%s: %d images lie beside the class folders and are not used, for example %s.", folder, len(stray), stray[0])


def _check_class_names(names: set[str], case_sensitive: bool, where: str) -> None:
    _refuse_collisions(names, lambda name: unicodedata.normalize("NFC", name).strip(), where, "rename one")
    if not case_sensitive:
        fix = "rename one, or set data.case_sensitive=true if they are two classes"
        _refuse_collisions(names, lambda name: unicodedata.normalize("NFC", name).strip().casefold(), where, fix)


def _refuse_collisions(names: set[str], key: Callable[[str], str], where: str, fix: str) -> None:
    alike: dict[str, list[str]] = defaultdict(list)
    for name in sorted(names):
        alike[key(name)].append(name)
    for group in alike.values():
        if len(group) > 1:
            raise UserError(f"{where}: the classes {' and '.join(map(ascii, group))} read the same: {fix}.")


def _with_digests(entries: list[tuple[str, str, str | None]], root: Path) -> list[Sample]:
    with ThreadPoolExecutor() as pool:
        digests = list(pool.map(_digest, (path for path, _, _ in entries)))
    samples = [
        Sample(os.path.abspath(path), _name(path, root), unicodedata.normalize("NFC", label.strip()), digest, split)
        for (path, label, split), digest in zip(entries, digests, strict=True)
    ]
    return sorted(samples, key=lambda sample: sample.name)


def _digest(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _name(path: str, root: Path) -> str:
    absolute, base = Path(os.path.abspath(path)), Path(os.path.abspath(root))
    return absolute.relative_to(base).as_posix() if absolute.is_relative_to(base) else absolute.as_posix()
