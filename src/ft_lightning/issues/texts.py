"""What may be wrong with texts, whatever their labels."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ft_lightning.issues.findings import NONE, Finding, Issue, listed
from ft_lightning.issues.near_copies import BUT, about_copies, likeness, spelled_alike
from ft_lightning.issues.traits import Trait
from ft_lightning.readers.lengths import counted, length_of, lengths
from ft_lightning.readers.sample import Inspection, Reader, Sample
from ft_lightning.readers.words import beginning_of, words_of
from ft_lightning.system.errors import name_few, number_of
from ft_lightning.tasks.task import Task

if TYPE_CHECKING:
    from torch import Tensor


ALIKE = "words in common"
_SHARED = 0.8  # of the words of two texts, from which one is taken for a version of the other
_UNREADABLE = 0.2  # of the tokens unknown; letters of other languages in English are below 0.01, Chinese has 0.7
_CUT = 0.01  # of the texts
_DECILES = (5, 4, 6, 3, 7, 2, 8, 1, 9)  # of lengths; the middle first, as it tells most texts apart


def about(samples: Sequence[Sample], inspections: Mapping[str, Inspection]) -> tuple[list[Finding], list[Issue]]:
    """Report texts that are the same but for case, spaces and Unicode form, under one label and under two."""
    pairs = spelled_alike(samples, lambda sample: sample.content)
    contrary = [(a, b) for a, b in pairs if a.label != b.label]
    found, issues = about_copies([(a, b) for a, b in pairs if (a.label, a.split) == (b.label, b.split)], "text")
    what = f"time a text has two labels, {BUT}", f"times a text has two labels, {BUT}"
    fix = "Keep the one that is right, and take its row out of issues.csv."
    found += listed("two labels", [f"{a.name} and {b.name}" for a, b in contrary], what, fix)
    both = [pair for a, b in contrary for pair in ((a, b), (b, a))]
    issues += [Issue(a.name, "two labels", 1.0, a.label, f"{b.label or NONE}, as {b.name} {BUT}") for a, b in both]
    return found, list({issue.path: issue for issue in issues}.values())


def about_inputs(samples: Sequence[Sample], reader: Reader) -> tuple[list[Finding], list[Issue]]:
    """Report texts that a tokenizer cannot read, or that are longer than what the network reads of them."""
    looks = [(sample, reader.inspect(sample)[1]) for sample in counted(samples)]
    seen = [(sample, look) for sample, look in looks if look.width]
    return [*_about_unknown(seen), *_about_cut([look.width for _, look in seen], reader)], []


def about_outputs(samples: Sequence[Sample], outputs: "Tensor") -> tuple[list[Finding], list[Issue]]:
    """Report texts whose features are far from all others: see `suspects.about_outliers`."""
    from ft_lightning.issues import suspects  # here, because a look at files needs neither torch nor scikit-learn

    return suspects.about_outliers(samples, outputs)


def _about_unknown(seen: Sequence[tuple[Sample, Inspection]]) -> list[Finding]:
    sums: dict[str, np.ndarray] = defaultdict(lambda: np.zeros(2))  # label -> unknown tokens, all tokens
    for sample, look in seen:
        sums[sample.label] += (look.height, look.width)
    unknown, total = sum(sums.values(), start=np.zeros(2))
    fix = (
        "Its answers can only be poor: choose a model for their language or script, such as model=transformers "
        "model.name=<folder or hub id>."
    )
    if unknown > _UNREADABLE * total:
        said = f"This model cannot read your texts: {unknown / total:.0%} of their tokens are unknown to its tokenizer."
        return [Finding("unknown tokens", said, fix)]
    hard = sorted(label for label, (unknown, total) in sums.items() if unknown > _UNREADABLE * total)
    if not hard or len(sums) == len(seen):  # numbers, of which each sample has its own, are no groups of samples
        return []
    shares = [f"{label or NONE} {sums[label][0] / sums[label][1]:.0%}" for label in hard]
    said = f"This model cannot read the texts of {name_few(shares)}: so many of their tokens are unknown to it."
    return [Finding("unknown tokens", said, fix)]


def _about_cut(widths: Sequence[int], reader: Reader) -> list[Finding]:
    limit, truncate = reader.max_length, reader.truncate  # type: ignore[attr-defined]  # of a TextReader
    cut = sum(width > limit for width in widths)
    if truncate == "windows" or cut <= _CUT * len(widths):
        return []
    said = f"{cut:,} of {number_of(len(widths), 'text')} {'is' if cut == 1 else 'are'} longer than the {limit} tokens "
    said += f"that are read of each ({truncate})."
    fix = "What is cut has no say: a higher data.max_length if the model has one, or data.truncate=windows for all."
    return [Finding("cut", said, fix)]


def traits(samples: Sequence[Sample], inspections: Mapping[str, Inspection]) -> Iterator[Trait]:
    """Yield whether texts are longer than a limit, at each tenth of their lengths."""
    long = {sample.digest: length_of(sample.content) for sample in samples}
    fix = (
        "A network can learn that in place of their content. If it is not so where the model will be used, take texts "
        "of like length."
    )
    if long:
        deciles = np.quantile(list(long.values()), [tenth / 10 for tenth in _DECILES], method="lower")
        for limit in dict.fromkeys(deciles.tolist()):
            few, many = f"at most {limit:,} characters long", f"longer than {limit:,} characters"
            ways = {digest: few if length <= limit else many for digest, length in long.items()}
            yield Trait("length", "Texts", ways, fix)


def near_duplicates(
    samples: Sequence[Sample], splits: Sequence[str], features: "Tensor", reader: Reader
) -> list[tuple[int, int, float]]:
    """Find texts of val or test that an earlier split has too, with other case, spaces or a few other words.

    Features select the candidates; the share of words that two texts have in common decides (Jaccard's index).
    """
    from ft_lightning.issues import suspects  # here, because a look at files needs neither torch nor scikit-learn

    words = [frozenset(words_of(sample.content)) for sample in samples]
    pairs = [(a, b, likeness(words[a], words[b])) for a, b in suspects.lookalikes(features, splits)]
    return sorted((pair for pair in pairs if pair[2] >= _SHARED), key=lambda pair: -pair[2])


def record(samples: Sequence[Sample], inspections: Mapping[str, Inspection], task: type[Task]) -> dict[str, Any]:
    """Describe lengths in characters."""
    usable = [length_of(sample.content) for sample in samples if sample.digest in inspections]
    return {"modes": {}, "sizes": {}, "characters": lengths(usable)}


def preview(sample: Sample) -> str:
    return beginning_of(sample.content)


def label(text: str) -> str:
    return text
