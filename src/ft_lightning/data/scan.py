"""Makes samples of what a source lists: checks it, and reads each file's digest."""

import functools
import hashlib
import inspect
import logging
import os
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from ft_lightning.data.labels import Cells, Labels, OnProblem
from ft_lightning.data.memo import NOT_A_FILE, Memo, digest_files
from ft_lightning.data.own_source import name_of
from ft_lightning.readers import conversation
from ft_lightning.readers.conversation import Message
from ft_lightning.readers.sample import Sample
from ft_lightning.system.errors import UserError, name_few, number_of

log = logging.getLogger(__name__)

SPLITS = ("train", "val", "test")
_SPELLINGS = {split: split for split in SPLITS} | {
    **dict.fromkeys(("training", "trn"), "train"),
    **dict.fromkeys(("valid", "validation", "dev", "development"), "val"),
    **dict.fromkeys(("testing", "tst"), "test"),
}


class Entry(NamedTuple):
    """A labelled sample: a file, or what a source has read of one, such as a row of a table."""

    path: str  # absolute, or relative to the listing's base
    label: Cells  # a text; or, for a label of several columns, the cell of each
    split: str | None = None  # train, val or test; None for all entries if the split is to be made
    group: str | None = None  # entries of a group stay in one split
    weight: float = 1.0  # how much it counts in training
    content: Any = None  # what a reader takes in place of the file; its bytes are those of `digest_of`
    problem: str = ""  # why there is no content where the source reads it


class Listing(NamedTuple):
    """What a source holds."""

    entries: list[Entry]
    base: Path  # samples are named by their paths relative to it


class FindFiles(Protocol):
    """A data source: lists the labelled files of `data.root` and `data.csv`.

    One that can read the columns of `data.label` and `data.weight` has parameters `label` and `weight` too.
    """

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
    labels: Labels,
    memo: Memo | None = None,
    on_problem: OnProblem = refuse,
    kind: str = "image",
) -> list[Sample]:
    """Return the samples of a source, sorted by name.

    An unreadable file becomes a sample with a problem, so that all of them can be reported at once.

    Args:
        memo: files that it knows are not read again.
        on_problem: called with each problem of the labels; if it returns, the scan goes on.
        kind: what the samples are: image, text or conversation.
    """
    where = f"data.{'csv' if kind == 'image' else 'table'}={csv}" if csv else f"data.root={root}"
    where = where if csv or root else f"data.find={name_of(find)}"
    columns: dict[str, str | Sequence[str] | None] = {"label": labels.columns, "weight": labels.weight}
    find = with_columns(find, {key: named for key, named in columns.items() if named is not None})
    entries, base = _listed(find, root, csv, on_problem, where, kind)
    read = labels.read([(_name(entry, base), entry.label) for entry in entries], where, on_problem)
    labelled = [(entry, label) for entry, label in zip(entries, read, strict=True) if label is not None]
    return _samples_of(labelled, base, memo, kind)


def with_columns(find: FindFiles, given: Mapping[str, str | Sequence[str]]) -> FindFiles:
    """Return the source that reads the columns which keys such as `data.label` name; itself where none are set."""
    if unknown := [key for key in sorted(given) if not _takes(find, key)]:
        key = unknown[0]
        raise UserError(
            f"data.{key}={given[key]}: data.find={name_of(find)} has no parameter {key}, so takes no columns: leave it "
            "out."
        )
    return functools.partial(find, **given) if given else find  # type: ignore[arg-type]


def _takes(find: FindFiles, name: str) -> bool:
    try:
        inspect.signature(find).bind_partial(**{name: None})
    except TypeError:
        return False
    except ValueError:  # written in C, so it says nothing of itself
        return True
    return True


def with_entries(find: FindFiles, change: Callable[[list[Any], Path], list[Any]]) -> FindFiles:
    """Return the source whose entries are changed as they are listed; `change` gets them and their base."""

    @functools.wraps(find)
    def listing(root: str | None, csv: str | None, on_problem: OnProblem, **columns: Any) -> Any:
        found = find(root, csv, on_problem, **columns)
        if not isinstance(found, Listing):  # which is refused where all sources are
            return found
        return found._replace(entries=change(found.entries, absolute(Path(found.base))))

    return listing


def base_of(samples: Sequence[Sample]) -> str | None:
    """Return the folder at which the names of samples start, for people; None if there is none."""
    within = (sample for sample in samples if sample.path.endswith(f"/{sample.name}"))
    return next((sample.path.removesuffix(f"/{sample.name}") for sample in within), None)


def _listed(
    find: FindFiles, root: str | None, csv: str | None, on_problem: OnProblem, where: str, kind: str
) -> Listing:
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
    if nameless := [entry for entry in entries if not _is_text(entry.label)]:
        path, label, *_ = nameless[0]
        text = "" if label is None else str(label)
        raise UserError(
            f"{where}: {path} has the label {label!r}; a label is a text, such as {text!r}, or texts by column."
        )
    given = {entry.split for entry in entries}
    if unknown := sorted(map(str, given - {None, *SPLITS})):
        raise UserError(f"{where}: split {unknown[0]!r} is unknown; use {', '.join(SPLITS)}, or None.")
    if None in given and len(given) > 1:
        raise UserError(f"{where}: some files have a split and some have none; give all of them one, or none.")
    base = absolute(Path(listing.base))
    entries = [entry._replace(path=str(absolute(base / entry.path))) for entry in entries]
    if repeated := [path for path, count in Counter(entry.path for entry in entries).items() if count > 1]:
        raise UserError(f"{where} names {number_of(len(repeated), 'file')} more than once: {name_few(repeated)}.")
    if not entries:
        on_problem(f"{where}: no {kind} is listed.")
    return Listing(entries, base)


def without_special(samples: list[Sample]) -> list[Sample]:
    """Leave out named pipes, sockets, devices and folders, whatever they are called, and say how many."""
    if special := [sample.name for sample in samples if sample.problem == NOT_A_FILE]:
        log.warning(
            "%s passed over: %s.", number_of(len(special), "is no file and", "are no files and"), name_few(special)
        )
    return [sample for sample in samples if sample.problem != NOT_A_FILE]


def _samples_of(entries: Sequence[tuple[Entry, str]], base: Path, memo: Memo | None, kind: str) -> list[Sample]:
    """Return the samples of these entries, sorted by name, the path relative to `base`; read each file once."""
    # Surrogates stand for bytes of a name that Python cannot decode.
    undecodable = [ascii(entry.path) for entry, label in entries if re.search("[\ud800-\udfff]", entry.path + label)]
    if undecodable:
        raise UserError(
            f"{number_of(len(undecodable), 'file name is', 'file names are')} not valid UTF-8: {name_few(undecodable)}."
            " Rename the files."
        )
    files = [entry.path for entry, _ in entries if entry.content is None and not entry.problem]
    of_files = dict(zip(files, digest_files(files, memo), strict=True))
    samples = []
    for entry, label in entries:
        digest, problem = of_files.get(entry.path) or (digest_of(entry.content), entry.problem)
        name = _name(entry, base)
        identity = digest or hashlib.sha256(f"no bytes: {name}".encode()).hexdigest()
        more = (entry.split, (entry.group or "").strip() or None, problem, entry.weight, entry.content, kind)
        samples.append(Sample(entry.path, name, label, identity, *more))
    return sorted(samples, key=lambda sample: sample.name)


def digest_of(content: Any) -> str:
    """Return the sha256 of a text's UTF-8 bytes, of those of several with a separator, or of a conversation's messages.

    Empty without content.
    """
    if content is None:
        return ""
    if isinstance(content, tuple) and content and isinstance(content[0], Message):
        return conversation.digest_of(content)
    texts = [content] if isinstance(content, str) else content
    return hashlib.sha256("\x1f".join(texts).encode()).hexdigest()


def _name(entry: Entry, base: Path) -> str:
    place = Path(entry.path)
    return (place.relative_to(base) if place.is_relative_to(base) else place).as_posix()


def _is_text(label: object) -> bool:
    cells = label.values() if isinstance(label, Mapping) else [label]
    return all(isinstance(cell, str) for cell in cells)


def absolute(path: Path) -> Path:
    """Return the path without `..`; unlike `resolve`, keep links: names would change with them."""
    return Path(os.path.normpath(path.absolute()))
