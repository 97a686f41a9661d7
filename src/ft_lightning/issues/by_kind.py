"""Which module looks at which kind of samples."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from ft_lightning.issues import conversations, images, texts
from ft_lightning.issues.findings import Finding, Issue
from ft_lightning.issues.traits import Trait
from ft_lightning.readers.sample import Inspection, Reader, Sample
from ft_lightning.tasks.task import Task

if TYPE_CHECKING:
    from torch import Tensor


class SampleIssues(Protocol):
    """What is said of samples of one kind, whatever their labels; a module, listed below."""

    ALIKE: str  # what the likeness of near-duplicates is, such as correlation

    def about(
        self, samples: Sequence[Sample], inspections: Mapping[str, Inspection]
    ) -> tuple[list[Finding], list[Issue]]:
        """Report what is odd about samples, by what looking at each has found."""

    def about_inputs(self, samples: Sequence[Sample], reader: Reader) -> tuple[list[Finding], list[Issue]]:
        """Report what a network's reader makes of samples; those of the issues are not passed through the network."""

    def about_outputs(self, samples: Sequence[Sample], outputs: "Tensor") -> tuple[list[Finding], list[Issue]]:
        """Report samples that are unlike all others by what a network makes of them, (N, D)."""

    def traits(self, samples: Sequence[Sample], inspections: Mapping[str, Inspection]) -> Iterable[Trait]:
        """Yield what may give a label away, the likeliest first."""

    def near_duplicates(
        self, samples: Sequence[Sample], splits: Sequence[str], features: "Tensor", reader: Reader
    ) -> list[tuple[int, int, float]]:
        """Find samples of val or test that an earlier split has in another version.

        Args:
            features: (N, D) of these samples.

        Returns:
            Position of the copy in train (or val for test), position in val or test, likeness up to 1; the closest
            first.
        """

    def record(
        self, samples: Sequence[Sample], inspections: Mapping[str, Inspection], task: type[Task]
    ) -> dict[str, Any]:
        """Return the entries of check.json that count how large samples are."""

    def preview(self, sample: Sample) -> bytes | str:
        """Return what a page shows of a sample that can be used."""

    def label(self, text: str) -> str:
        """Return what tables and pages show of a label."""


SAMPLE_ISSUES: dict[str, SampleIssues] = {"image": images, "text": texts, "conversation": conversations}
