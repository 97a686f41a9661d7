"""One labelled thing, as everything else knows it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sample:
    """One labelled image; its identity is the digest of the file's bytes."""

    path: str  # absolute
    name: str  # as the dataset calls it: relative to its root, with forward slashes
    label: str
    digest: str  # sha256 of the file's bytes; of its name where there are none
    split: str | None = None  # what the layout or the CSV says
    group: str | None = None
    problem: str = ""  # why there are no bytes
