"""Makes samples of what a source lists: checks the classes' names, and reads each file's digest."""

import hashlib
import logging
import os
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple, Protocol

from ft_lightning.data.memo import NOT_A_FILE, Memo, digest_files
from ft_lightning.readers.sample import Sample
from ft_lightning.system.errors import UserError, name_few

log = logging.getLogger(__name__)

SPLITS = ("train", "val", "test")
_SPELLINGS = {split: split for split in SPLITS} | {
    **dict.fromkeys(("training", "trn"), "train"),
    **dict.fromkeys(("valid", "validation", "dev", "development"), "val"),
    **dict.fromkeys(("testing", "tst"), "test"),
}

OnProblem = Callable[[str], None]


class Entry(NamedTuple):
    """A labelled file."""

    path: str  # absolute, or relative to the listing's base
    label: str
    split: str | None = None  # train, val or test; None for all entries if the split is to be made
    group: str | None = None  # entries of a group stay in one split


class Listing(NamedTuple):
    """What a source holds."""

    entries: list[Entry]
    base: Path  # samples are named by their paths relative to it


class FindFiles(Protocol):
    """A data source: lists the labelled files of `data.root` and `data.csv`."""

    def __call__(self, root: str | None, csv: str | None, on_problem: OnProblem) -> Listing:
        """Return the files; UserError if there is no such source.

        Args:
            on_problem: called with each problem that a dataset may have beside others; raises, or collects them.
        """


def refuse(message: str) -> None:
    """Raise UserError; the default of `on_problem`."""
    raise UserError(message)


def split_called(name: str) -> str | None:
    """Return the split that a folder or a cell means, such as val for Valid; None if it means none."""
    return _SPELLINGS.get(name.strip().casefold())


def scan(
    find: FindFiles,
    root: str | None,
    csv: str | None,
    case_sensitive: bool,
    memo: Memo | None = None,
    on_problem: OnProblem = refuse,
) -> list[Sample]:
    """Return the samples of a source, sorted by name.

    An unreadable file becomes a sample with a problem, so that all of them can be reported at once.

    Args:
        memo: files that it knows are not read again.
        on_problem: called with each problem of the classes; if it returns, the scan goes on.
    """
    where = f"data.csv={csv}" if csv else f"data.root={root}"
    entries, base = _listed(find, root, csv, on_problem, where)
    _check_class_names({entry.label for entry in entries}, case_sensitive, where, on_problem)
    return _samples_of(entries, base, memo)


def _listed(find: FindFiles, root: str | None, csv: str | None, on_problem: OnProblem, where: str) -> Listing:
    """Return what a source lists, which may be a function of the user's own, or say what is wrong with it."""
    try:
        listing = find(root, csv, on_problem)
    except OSError as error:
        raise UserError(f"{where} cannot be read: {error}.") from error
    if not isinstance(listing, Listing):
        raise UserError(f"data.find returned a {type(listing).__name__}: make it return a Listing.")
    entries = list(listing.entries)
    if strange := [entry for entry in entries if not isinstance(entry, Entry)]:
        raise UserError(f"data.find lists {strange[0]!r}: make it an Entry.")
    if nameless := [entry for entry in entries if not (isinstance(entry.label, str) and _shows(entry.label))]:
        path, label, *_ = nameless[0]
        raise UserError(f"{where}: {path} has the label {label!r}; a label is a text, and not empty.")
    given = {entry.split for entry in entries}
    if unknown := sorted(map(str, given - {None, *SPLITS})):
        raise UserError(f"{where}: split {unknown[0]!r} is unknown; use {', '.join(SPLITS)}, or None.")
    if None in given and len(given) > 1:
        raise UserError(f"{where}: some files have a split and some have none; give all of them one, or none.")
    base = absolute(Path(listing.base))
    entries = [entry._replace(path=str(absolute(base / entry.path))) for entry in entries]
    if repeated := [path for path, count in Counter(entry.path for entry in entries).items() if count > 1]:
        raise UserError(f"{where} names {len(repeated)} files more than once: {name_few(repeated)}.")
    if not entries:
        on_problem(f"{where}: no image is listed.")
    return Listing(entries, base)


def without_special(samples: list[Sample]) -> list[Sample]:
    """Leave out named pipes, sockets, devices and folders, whatever they are called, and say how many."""
    if special := [sample.name for sample in samples if sample.problem == NOT_A_FILE]:
        log.warning("%d are no files and passed over: %s.", len(special), name_few(special))
    return [sample for sample in samples if sample.problem != NOT_A_FILE]


def _check_class_names(names: set[str], case_sensitive: bool, where: str, on_problem: OnProblem) -> None:
    ways: list[tuple[Callable[[str], str], str]] = [(_tidy, "rename one"), (_whole, "write the number in one way")]
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


def _samples_of(entries: list[Entry], base: Path, memo: Memo | None) -> list[Sample]:
    """Return the samples of these files, sorted by name, which is the path relative to `base`; read each file once."""
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


def absolute(path: Path) -> Path:
    """Return the path without `..`; unlike `resolve`, keep links: names would change with them."""
    return Path(os.path.normpath(path.absolute()))


def nested_folders(samples: Iterable[Sample]) -> dict[str, list[str]]:
    """Return each class folder whose images all lie in folders of its own, with the names of those.

    They may be the classes, and `data.root` one folder too high. A class folder with a single one is not returned,
    unless it is called like a split.
    """
    inner: dict[str, set[str]] = defaultdict(set)
    for sample in samples:
        parts = sample.name.split("/")
        top = 1 if sample.split and split_called(parts[0]) == sample.split else 0
        if len(parts) > top + 1 and _tidy(parts[top]) == sample.label:
            inner["/".join(parts[: top + 1])].add(parts[top + 1] if len(parts) > top + 2 else "")
    nested = {folder: sorted(names) for folder, names in inner.items() if "" not in names}
    return {folder: names for folder, names in nested.items() if len(names) > 1 or split_called(names[0])}


def _tidy(label: str) -> str:
    return unicodedata.normalize("NFC", label).strip()


def _whole(label: str) -> str:
    """Return a whole number without the decimals that spreadsheets and pandas add."""
    return re.sub(r"^([+-]?\d+)\.0*$", r"\1", label)


def _shows(label: str) -> bool:
    """Return whether a label has a visible letter; zero-width spaces are not."""
    return any(letter.isprintable() and not letter.isspace() for letter in label)
