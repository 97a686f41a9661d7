"""What may give a label away besides the content of a sample, such as an image's colour mode or a text's length."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ft_lightning.issues.findings import NONE, Finding
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
        found: dict[str, Counter[str]] = defaultdict(Counter)
        for sample in samples:
            if sample.digest in self.ways:
                for name in task.names_in(sample.label) or [NONE]:
                    found[name][self.ways[sample.digest]] += 1
        return found
