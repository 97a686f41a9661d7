"""A labelled sample, and the contract of a reader, which turns its bytes into a model's input."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, Self, TypeAlias

from ft_lightning.system.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

Inputs: TypeAlias = "Tensor | dict[str, Tensor]"  # of one sample, or of a batch


@dataclass(frozen=True, slots=True)
class Sample:
    """A labelled file; its identity is the digest of its bytes."""

    path: str  # absolute
    name: str  # path relative to the dataset's root, with forward slashes
    label: str
    digest: str  # sha256 of its bytes, or of its name if it has none; empty: unknown, and not compared when reading
    split: str | None = None  # given by the folder or the table
    group: str | None = None
    problem: str = ""  # why it has no bytes

    @classmethod
    def unlabelled(cls, path: str) -> "Sample":
        """Make a sample of a file to predict, of which only the path is known."""
        return cls(path, path, "", "")


class SampleError(UserError):
    """A sample that cannot be used; the message begins with its path."""

    def __init__(self, message: str) -> None:
        # A DataLoader re-raises a worker's error with the worker's whole traceback as its message.
        super().__init__(message.strip().rpartition(f"{__name__}.{type(self).__name__}: ")[2])


class Inspection(NamedTuple):
    """The result of decoding a sample; a DataLoader collates those of a batch."""

    width: int  # of an image's header, as stored; 0 where there is none
    height: int
    mode: str
    error: str  # why it cannot be used, without its path; empty if it can
    lasting: bool  # whether the same bytes always give this result; not so if memory ran out or the file changed


class Reader(Protocol):
    """Turns a sample into a model's input; belongs to the weights: an image's preprocess, a tokenizer."""

    @property
    def preprocess(self) -> Callable[..., Inputs]:
        """What an augmentation replaces; a function of conf/augment gets it."""

    def __call__(self, sample: Sample) -> Inputs:
        """Return the input; raise SampleError for a sample that cannot be used."""

    def inspect(self, sample: Sample) -> tuple[Inputs, Inspection]:
        """Return the input and the inspection; for an unusable sample a blank input and the reason."""

    def collate(self, items: list[Inputs]) -> Inputs:
        """Combine inputs into a batch."""

    def preview(self, sample: Sample) -> bytes | str:
        """Return what a page shows of a sample: a JPEG, or the first words."""

    def limited(self, max_pixels: int) -> Self:
        """Return the same reader with another limit on an image's size; itself if samples are not images."""

    def key(self) -> dict[str, Any]:
        """Return everything that shapes an input, as plain values: a part of the feature store's key."""

    def to_dict(self) -> dict[str, Any]:
        """Return the plain values that rebuild this reader, for model.json."""
