"""What may give a label away besides the content of a sample, such as an image's colour mode or a text's length."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ft_lightning.issues.findings import Finding, by_name
from ft_lightning.readers.sample import Sample
from ft_lightning.tasks.task import Task


@dataclass(frozen=True)
class Trait:
    """Something that each sample is in one of several ways."""

    kind: str  # of the finding: colour mode, length
    noun: str  # of several samples, to begin a sentence
    ways: Mapping[str, str]  # by digest: "L", or "longer than 80 characters"
    fix: str

    def finding(self, said: str) -> list[Finding]:
        return [Finding(self.kind, said, self.fix)]

    def counts(self, samples: Iterable[Sample], task: type[Task]) -> dict[str, Counter[str]]:
        """Count the samples with each label's names, such as its class, by their way."""
        seen = [sample for sample in samples if sample.digest in self.ways]
        return {
            name: Counter(self.ways[sample.digest] for sample in ones) for name, ones in by_name(seen, task).items()
        }
