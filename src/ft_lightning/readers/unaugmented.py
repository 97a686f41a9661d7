"""What the readers of texts and of conversations have in common: tokens are read by `inspect`, and never augmented."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Self

from ft_lightning.readers.sample import Inputs, Inspection, Sample, SampleError


@dataclass(frozen=True, kw_only=True)
class Unaugmented(ABC):
    """The part of a `readers.sample.Reader` that is the same for all samples which are not augmented."""

    alike: bool = False  # whether the batches of train should hold samples of like length

    @abstractmethod
    def inspect(self, sample: Sample) -> tuple[Inputs, Inspection]:
        """Return the input, and what was found in reading it."""

    def __call__(self, sample: Sample) -> Inputs:
        """Read a sample's tokens, int32; their number is its own length, rounded up."""
        inputs, found = self.inspect(sample)
        if found.error:
            raise SampleError(f"{sample.path}: {found.error}.")
        return inputs

    def for_training(self) -> Self:
        """Return the reader for a backbone that trains: with gradients, a batch is as long as its longest sample."""
        return replace(self, alike=True)

    def augmented(self, augment: Callable[[Any], Any] | None) -> Self:
        return self

    def blank(self) -> None:
        return None

    @property
    def preprocess(self) -> Self:
        return self

    def size_error(self, width: int, height: int) -> str:
        """Say nothing: a text is never too long, only cut, and what is too long of others is said by `inspect`."""
        return ""
