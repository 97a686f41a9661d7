"""What is said of labels of which a sample has any number."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from ft_lightning.data.split import Splits
from ft_lightning.issues.findings import (
    FEW,
    HARDLY,
    MOSTLY,
    NONE,
    UNBALANCED,
    Finding,
    Issue,
    by_name,
    count_names,
    listed,
)
from ft_lightning.issues.label_issues import Suspects
from ft_lightning.issues.traits import Trait
from ft_lightning.readers.sample import Sample
from ft_lightning.system.errors import name_few, number_of
from ft_lightning.tasks.label_sets import names_in
from ft_lightning.tasks.multilabel import MultiLabel
from ft_lightning.tasks.task import Task

if TYPE_CHECKING:
    from torch import Tensor


COUNTED, NOUN, NOUNS = "Samples with each label", "label", "labels"
LOOKS = "look as if they had other labels"
SCORE = "label, 0 to 1, how improbable the labels are"
_UNLABELLED = 0.5  # share of samples without a label from which they may just not be labelled


def about_labels(task: Task, splits: Splits) -> tuple[list[Finding], list[Issue]]:
    """Report labels that few or nearly all samples have, that a split lacks, or that are always together."""
    train = [names_in(sample.label) for sample in splits["train"]]
    counts = Counter(name for names in train for name in names)
    found: list[Finding] = []
    fix = "Add samples, or leave such labels out: no number about so few will be certain."
    few = sorted(name for name in counts if counts[name] < FEW)
    what = f"label has fewer than {FEW} samples in train", f"labels have fewer than {FEW} samples in train"
    found += listed("small label", few, what, fix)
    without = sorted(name for name in counts if len(train) - counts[name] < FEW <= counts[name])
    end = f"missing in fewer than {FEW} samples of train"
    found += listed("common label", without, (f"label is {end}", f"labels are {end}"), fix)
    for split in ("val", "test"):
        present = {name for sample in splits[split] for name in names_in(sample.label)}
        if missing := sorted(counts.keys() - present):
            said = f"{number_of(len(missing), 'label has', 'labels have')} no sample in {split}: {name_few(missing)}."
            found.append(Finding("missing label", said, f"Add some to {split}: nothing is measured about them."))
    ordered = counts.most_common() or [("", 0)]
    (most, high), (least, low) = ordered[0], ordered[-1]
    if high >= UNBALANCED * low > 0:
        said = f"{number_of(high, 'sample')} of train have the label {most}, {low:,} have {least}."
        fix = "loss.positive_weights=balanced weighs them; look at each label's average precision."
        found.append(Finding("imbalance", said, fix))
    return found + _about_sets(train, counts), []


def _about_sets(train: Sequence[Sequence[str]], counts: Counter[str]) -> list[Finding]:
    """Report what is odd about the sets of labels: none, exactly one each, labels that are always together."""
    found: list[Finding] = []
    sizes = Counter(map(len, train))
    if sizes[0] > _UNLABELLED * len(train):
        said = f"{sizes[0]:,} of {number_of(len(train), 'sample')} of train have none of the labels."
        found.append(Finding("no label", said, "If they are just not labelled yet: data.empty_label=skip."))
    elif train and sizes[1] == len(train) and len(counts) > 1:
        said = "Every sample of train has exactly one label."
        fix = "If that is no accident they are classes: task=multiclass."
        if counts.keys() <= {"0", "1"}:
            said = "The labels are 0 and 1."
            fix = "If a column says whether a sample has a label, name it in a list: data.label=[cat]."
        found.append(Finding("one label", said, fix))
    having: dict[str, list[int]] = defaultdict(list)
    for position, names in enumerate(train):
        for name in names:
            having[name].append(position)
    together: dict[tuple[int, ...], list[str]] = defaultdict(list)
    for name in sorted(having):
        if counts[name] >= FEW:
            together[tuple(having[name])].append(name)
    same = [" and ".join(names) for names in together.values() if len(names) > 1]
    fix = "No model can tell them apart: keep one of them, or add samples that have only one."
    what = "set of labels is always together in train", "sets of labels are always together in train"
    return found + listed("same labels", same, what, fix)


def about_trait(samples: Sequence[Sample], trait: Trait) -> list[Finding]:
    """Report what most samples with a label are, and hardly any without it, or the other way round."""
    counted = trait.counts(samples, MultiLabel)
    total = Counter(trait.ways[sample.digest] for sample in samples if sample.digest in trait.ways)
    for way in sorted(total):
        given_away = []
        for name, counts in counted.items():
            without = total.total() - counts.total()
            if name != NONE and min(counts.total(), without) >= FEW:
                shares = counts[way] / counts.total(), (total[way] - counts[way]) / without
                given_away += [name] if max(shares) >= MOSTLY and min(shares) <= HARDLY else []
        if given_away:
            names = name_few(sorted(given_away))
            return trait.finding(f"{trait.noun} with and without {names} differ in being {way}.")
    return []


def suspects(
    task: Task, features: "Tensor", labels: Sequence[str], groups: Sequence[str] | None, seed: int
) -> Suspects:
    """Find samples that look as if they had other labels; see `suspect_sets.wrong_sets`."""
    import torch  # here, because a look at files needs neither torch nor scikit-learn

    from ft_lightning.issues.suspect_sets import wrong_sets

    names = sorted({name for label in labels for name in names_in(label)})
    targets = torch.tensor([[name in own for name in names] for own in map(set, map(names_in, labels))]).float()
    found, estimated = wrong_sets(features, targets, groups, seed)
    rows = [
        (at, " ".join(f"{'-' if targets[at, column] else '+'}{names[column]}" for column in columns), score)
        for at, columns, score in found
    ]
    return Suspects(rows, estimated)


def record(task: Task | None, splits: Splits) -> dict[str, Any]:
    return {"classes": count_names(splits, MultiLabel)}


def grouped(samples: Iterable[Sample]) -> dict[str, list[Sample]]:
    """Return the samples with each label, and those with none."""
    return by_name(samples, MultiLabel)
