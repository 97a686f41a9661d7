"""A labelled sample, and the contract of a reader, which turns its bytes into a model's input."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol, Self, TypeAlias

import numpy as np

from ft_lightning.readers.conversation import conversation_of, digest_of, question_of, shown
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
    weight: float = 1.0  # how much it counts in training
    content: Any = field(default=None, compare=False, repr=False)  # what a reader takes in place of a file
    kind: str = "image"  # image | text | conversation

    @classmethod
    def unlabelled(cls, path: str, content: Any = None, kind: str = "image") -> "Sample":
        """Make a sample to predict: of a file, of which only the path is known, or of something in memory."""
        return cls(path, path, "", "", content=content, kind=kind)

    @classmethod
    def of_text(cls, name: str, content: str | tuple[str, ...]) -> "Sample":
        """Make a sample to predict of a text, or of two that belong together."""
        return cls.unlabelled(name, content, "text")

    @property
    def text(self) -> str | None:
        """The text, or several that belong together, one a line; of a conversation what stands before the last answer.

        None of what is still in its file, and of an image.
        """
        if self.kind == "conversation":
            return shown(question_of(self.content)) if self.content else None
        if self.kind != "text" or isinstance(self.content, bytes | None):
            return None
        return self.content if isinstance(self.content, str) else "\n".join(self.content)

    @property
    def texts(self) -> int:
        """Of how many texts it consists: 2 of a pair, 1 of a text, also of one that is in its file; 0 of others."""
        if self.kind != "text":
            return 0
        return len(self.content) if isinstance(self.content, tuple | list) else 1

    @property
    def question(self) -> str | None:
        """What stands before the last answer of a conversation, by its digest; None of any other sample."""
        return digest_of(question_of(self.content)) if self.kind == "conversation" and self.content else None

    @classmethod
    def several(cls, inputs: Any, kind: str = "image") -> list["Sample"]:
        """Make samples of what somebody gives: a path, bytes, an image, an array, a text, or several of them.

        Args:
            kind: what the model reads; for texts a str is a text, and a tuple of two in a list is a pair. For
                conversations a str is a question, and a tuple in a list the messages of one.

        Raises:
            UserError: a kind that no reader knows; a table or a dictionary, of which it is not clear what is meant.
        """
        if isinstance(inputs, Mapping) or hasattr(inputs, "columns"):
            raise UserError(f"{type(inputs).__name__}: give a path, an image, or a list of them; of a table, a column.")
        if isinstance(inputs, cls):
            return [inputs]
        if kind == "conversation" and isinstance(inputs, list) and conversation_of(inputs):
            return [cls._of(inputs, 0, kind)]  # the messages of one
        one = isinstance(inputs, str | bytes | bytearray | memoryview | os.PathLike) or not isinstance(inputs, Iterable)
        one = one or (isinstance(inputs, np.ndarray) and inputs.dtype.kind not in "OUS" and inputs.ndim < 4)
        return [cls._of(each, number, kind) for number, each in enumerate([inputs] if one else inputs)]

    @classmethod
    def _of(cls, one: Any, number: int, kind: str) -> "Sample":
        if isinstance(one, cls):
            return one
        if kind == "conversation":
            messages = conversation_of(one)
            problem = "" if messages else "no question, and no messages with a role and a content"
            return cls(f"input {number}", f"input {number}", "", "", problem=problem, content=messages, kind=kind)
        if kind == "text" and (
            isinstance(one, str) or (isinstance(one, tuple) and all(isinstance(x, str) for x in one))
        ):
            return cls.of_text(f"input {number}", one)
        if isinstance(one, str | os.PathLike):
            return cls.unlabelled(os.fsdecode(one), kind=kind)
        if isinstance(one, bytes | bytearray | memoryview):
            return cls.unlabelled(f"input {number}", bytes(one), kind)
        if kind == "text":
            raise UserError(f"input {number} is of type {type(one).__name__}: use a text, a path or bytes.")
        if isinstance(one, np.ndarray) or hasattr(one, "getexif"):  # an image of Pillow, which texts do without
            return cls.unlabelled(f"input {number}", one)
        raise UserError(
            f"input {number} is of type {type(one).__name__}: use a path, bytes, an image or a NumPy array."
        )


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

    kind: ClassVar[str]  # of the samples it reads: image or text
    apart: ClassVar[bool]  # whether a batch that is only read should hold samples of one length
    libraries: ClassVar[tuple[str, ...]]  # whose versions shape a feature

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

    def adapted(self, keys: Mapping[str, Any]) -> Self:
        """Return the same reader under the data's own keys of those it knows, such as max_pixels or max_length."""

    def augmented(self, augment: Callable[[Any], Any] | None) -> Self:
        """Return the reader whose preprocess is replaced by an augmentation; itself if that is the same."""

    def blank(self) -> Any:
        """Return a blank sample as an augmentation gets it; None if no augmentation fits."""

    def for_training(self) -> Self:
        """Return the reader for a backbone that trains: its batches pass through the network as they are."""

    @property
    def alike(self) -> bool:
        """Whether the batches of train should hold samples of like length."""

    def lengths(self, samples: Sequence[Sample]) -> Sequence[int] | None:
        """Return how long the input of each sample is; None if all are equally large."""

    def facts(self, samples: Sequence[Sample]) -> dict[str, Any]:
        """Return what is worth knowing of samples as it reads them: entries of metrics.json beside their number."""

    def size_error(self, width: int, height: int) -> str:
        """Say why a sample of this size, as an inspection has it, cannot be used; empty if it can."""

    def key(self) -> dict[str, Any]:
        """Return everything that shapes an input, as plain values: a part of the feature store's key."""

    def to_dict(self) -> dict[str, Any]:
        """Return the plain values that rebuild this reader, for model.json."""

    def files(self) -> dict[str, bytes]:
        """Return the files that belong beside model.json, by name."""
