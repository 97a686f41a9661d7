"""A labelled sample, and the contract of what turns its bytes into a model's input."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, Self, TypeAlias

from ft_lightning.system.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

Inputs: TypeAlias = "Tensor | dict[str, Tensor]"  # of one sample, or of a batch


@dataclass(frozen=True, slots=True)
class Sample:
    """One labelled thing; its identity is the digest of its bytes."""

    path: str  # absolute
    name: str  # as the dataset calls it: relative to its root, with forward slashes
    label: str
    digest: str  # sha256 of its bytes; of its name where there are none; empty: not known, whatever is there is read
    split: str | None = None  # what the layout or the table says
    group: str | None = None
    problem: str = ""  # why there are no bytes

    @classmethod
    def unlabelled(cls, path: str) -> "Sample":
        """A file to predict, of which nothing else is known."""
        return cls(path, path, "", "")


class SampleError(UserError):
    """A sample that cannot be used; the message begins with its path."""

    def __init__(self, message: str) -> None:
        # A DataLoader raises the error of a worker again with the worker's whole traceback as its message.
        super().__init__(message.strip().rpartition(f"{__name__}.{type(self).__name__}: ")[2])


class Inspection(NamedTuple):
    """What decoding a sample found; a DataLoader collates those of a batch."""

    width: int  # of an image's header, as stored; 0 where there is none
    height: int
    mode: str
    error: str  # why it cannot be used, without its path; empty if it can
    lasting: bool  # whether the same bytes will always give this: not so of a full memory or a file that changed


class Reader(Protocol):
    """Turns a sample into a model's input; belongs to the weights: an image's preprocess, a tokenizer."""

    @property
    def preprocess(self) -> Callable[..., Inputs]:
        """What an augmentation takes the place of; a function of conf/augment gets it."""

    def __call__(self, sample: Sample) -> Inputs:
        """The input; raises SampleError for a sample that cannot be used."""

    def inspect(self, sample: Sample) -> tuple[Inputs, Inspection]:
        """The input and what was found; of a sample that cannot be used a blank input and the reason."""

    def collate(self, items: list[Inputs]) -> Inputs:
        """A batch of inputs."""

    def preview(self, sample: Sample) -> bytes | str:
        """What a page shows of it: a JPEG, or the first words."""

    def limited(self, max_pixels: int) -> Self:
        """The same with another limit of an image's size; itself where samples are no images."""

    def key(self) -> dict[str, Any]:
        """Everything that shapes an input, as plain values: a part of the feature store's key."""

    def to_dict(self) -> dict[str, Any]:
        """What builds the same reader again, as plain values, for model.json."""
