"""Which module looks at which kind of samples."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from ft_lightning.issues import images, texts
from ft_lightning.issues.findings import Finding
from ft_lightning.readers.sample import Inspection, Reader, Sample

if TYPE_CHECKING:
    from torch import Tensor


class SampleIssues(Protocol):
    """What is said of samples of one kind, whatever their labels; a module, listed below."""

    def about(self, samples: Iterable[Sample], inspections: Mapping[str, Inspection]) -> list[Finding]:
        """Report what is odd about samples, by what looking at each has found."""

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


SAMPLE_ISSUES: dict[str, SampleIssues] = {"image": images, "text": texts}
