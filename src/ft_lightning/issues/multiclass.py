"""What is said of labels that are classes, one a sample."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from ft_lightning.data.split import Splits
from ft_lightning.issues.findings import FEW, HARDLY, MOSTLY, UNBALANCED, Finding, Issue, by_name, count_names, listed
from ft_lightning.issues.label_issues import Suspects
from ft_lightning.issues.traits import Trait
from ft_lightning.readers.sample import Sample
from ft_lightning.system.errors import name_few, number_of
from ft_lightning.tasks.multiclass import MultiClass
from ft_lightning.tasks.task import Task

if TYPE_CHECKING:
    from torch import Tensor


COUNTED, NOUN, NOUNS = "Classes", "class", "classes"
LOOKS = "look more like another class than like their own"
SCORE = "label, 0 to 1, how much likelier another class is"


def about_labels(task: Task, splits: Splits) -> tuple[list[Finding], list[Issue]]:
    """Report classes that are small, missing in val or test, or very unequal."""
    counts = {split: Counter(sample.label for sample in samples) for split, samples in splits.items()}
    train = counts["train"]
    found: list[Finding] = []
    few = sorted(label for label in train if train[label] < FEW)
    fix = "Add samples, or join classes: no number about so few will be certain."
    what = f"class has fewer than {FEW} samples in train", f"classes have fewer than {FEW} samples in train"
    found += listed("small class", few, what, fix)
    for split in ("val", "test"):
        if missing := sorted(train.keys() - counts[split].keys()):
            said = f"{split} has no sample of {number_of(len(missing), 'class', 'classes')}: {name_few(missing)}."
            found.append(Finding("missing class", said, f"Add some to {split}: nothing is measured about them."))
    ordered = train.most_common() or [("", 0)]
    (most, high), (least, low) = ordered[0], ordered[-1]
    if high >= UNBALANCED * low > 0:
        said = f"{most} has {number_of(high, 'sample')} in train, {least} {low:,}."
        fix = "loss.class_weights=balanced weighs them; look at macro F1 rather than accuracy."
        found.append(Finding("imbalance", said, fix))
    return found, []


def about_trait(samples: Sequence[Sample], trait: Trait) -> list[Finding]:
    """Report what most samples of one class are, and hardly any of another."""
    counted = trait.counts(samples, MultiClass)
    for way in sorted({way for counts in counted.values() for way in counts}):
        shares = {label: counts[way] / counts.total() for label, counts in counted.items() if counts.total() >= FEW}
        mostly = sorted(label for label, share in shares.items() if share >= MOSTLY)
        hardly = sorted(label for label, share in shares.items() if share <= HARDLY)
        if mostly and hardly:
            return trait.finding(f"{trait.noun} of {name_few(mostly)} are {way}, those of {name_few(hardly)} are not.")
    return []


def suspects(
    task: Task, features: "Tensor", labels: Sequence[str], groups: Sequence[str] | None, seed: int
) -> Suspects:
    """Find samples that look like another class; see `suspects.label_errors`."""
    import torch  # here, because a look at files needs neither torch nor scikit-learn

    from ft_lightning.issues.suspects import label_errors

    classes = sorted(set(labels))
    targets = torch.tensor([classes.index(label) for label in labels])
    found, estimated = label_errors(features, targets, groups, seed)
    return Suspects([(at, classes[likely], score) for at, likely, score in found], estimated)


def record(task: Task | None, splits: Splits) -> dict[str, Any]:
    return {"classes": count_names(splits, MultiClass)}


def grouped(samples: Iterable[Sample]) -> dict[str, list[Sample]]:
    """Return the samples of each class."""
    return by_name(samples, MultiClass)
