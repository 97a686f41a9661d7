"""Folds: each sample is tested once, what belongs together stays together, and nothing leaks."""

from collections import Counter

import numpy as np
import pytest

from ft_lightning.data.folds import fold_splits
from ft_lightning.readers.sample import Sample
from ft_lightning.system.errors import UserError
from ft_lightning.tasks.multiclass import MultiClass
from ft_lightning.tasks.multilabel import MultiLabel
from ft_lightning.tasks.task import Task

Folds = list[dict[str, list[Sample]]]


def sample(name: str, label: str, digest: str = "", group: str | None = None, split: str | None = None) -> Sample:
    return Sample(f"/data/{name}", name, label, digest or f"digest of {name}", split, group, "")


def several(**counts: int) -> list[Sample]:
    return [sample(f"{label}/{i}.png", label) for label, count in counts.items() for i in range(count)]


def with_copies() -> list[Sample]:
    """Each third file has the bytes of the one before."""
    return [sample(f"{label}{i}", label, f"{label}{i - i // 3 % 2}") for label in "ab" for i in range(40)]


def with_groups() -> list[Sample]:
    """Groups of very different sizes, some with both classes."""
    sizes = [1, 1, 1, 2, 2, 3, 3, 4, 5, 9, 1, 1, 2, 2, 3, 8]
    groups = [number for number, size in enumerate(sizes) for _ in range(size)]
    return [sample(f"{i}", "ab"[i % 2], group=f"g{number}") for i, number in enumerate(groups)]


def tied_through_others() -> list[Sample]:
    """Bytes tie a group to the next one: a chain of four."""
    chain = [sample(f"c{i}", "a", f"d{(i + 1) // 2}", f"g{i // 2}") for i in range(8)]
    return chain + several(a=20, b=20)


SETS = {
    "one class is rare": (several(ant=60, bee=33, cat=2), MultiClass(["ant", "bee", "cat"], [])),
    "copies": (with_copies(), MultiClass(["a", "b"], [])),
    "groups": (with_groups(), MultiClass(["a", "b"], [])),
    "a chain": (tied_through_others(), MultiClass(["a", "b"], [])),
    "labels": (
        [sample(str(i), ["", "a", "b", "a;b", "c"][i % 5], group=f"g{i // 2}" if i % 3 else None) for i in range(70)],
        MultiLabel(["a", "b", "c"]),
    ),
}


def keys(samples: list[Sample]) -> set[str]:
    return {each.digest for each in samples} | {f"group {each.group}" for each in samples if each.group is not None}


@pytest.mark.parametrize("folds", [2, 3, 5])
@pytest.mark.parametrize("name", SETS)
def test_each_sample_is_tested_once_and_a_fold_leaks_nothing(name: str, folds: int) -> None:
    samples, task = SETS[name]
    found = fold_splits(samples, folds, 0.2, 0, task)
    assert len(found) == folds
    assert Counter(each.name for fold in found for each in fold["test"]) == Counter(each.name for each in samples)
    for fold in found:
        assert sorted(each.name for those in fold.values() for each in those) == sorted(each.name for each in samples)
        for one, other in (("train", "val"), ("train", "test"), ("val", "test")):
            assert not keys(fold[one]) & keys(fold[other]), (one, other)
        assert not task.missing([each.label for each in fold["train"]])


def test_folds_have_as_many_of_each_class() -> None:
    samples = several(ant=61, bee=33, cat=17, dog=3)
    found = fold_splits(samples, 5, 0.2, 0, MultiClass(["ant", "bee", "cat", "dog"], []))
    sizes = [len(fold["test"]) for fold in found]
    assert max(sizes) - min(sizes) <= 1
    for label in ("ant", "bee", "cat", "dog"):
        counts = [sum(each.label == label for each in fold["test"]) for fold in found]
        assert max(counts) - min(counts) <= 1, label
    assert [len(fold["val"]) for fold in found] == pytest.approx([0.2 * len(samples)] * 5, abs=3)


def test_folds_depend_on_content_and_seed_alone() -> None:
    samples = several(ant=30, bee=30)
    task = MultiClass(["ant", "bee"], [])

    def tested(those: list[Sample], seed: int = 0) -> list[set[str]]:
        return [{each.digest for each in fold["test"]} for fold in fold_splits(those, 5, 0.2, seed, task)]

    mixed = [samples[i] for i in np.random.default_rng(0).permutation(60)]
    renamed = [sample(f"x{i}", each.label, each.digest, split="train") for i, each in enumerate(samples)]
    assert tested(samples) == tested(mixed) == tested(renamed)
    assert tested(samples) != tested(samples, seed=1)


def test_val_takes_at_most_half_of_what_is_not_tested() -> None:
    (fold, _) = fold_splits(several(ant=40, bee=40), 2, 0.9, 0, MultiClass(["ant", "bee"], []))
    assert (len(fold["train"]), len(fold["val"]), len(fold["test"])) == (20, 20, 40)


@pytest.mark.parametrize(
    ("samples", "folds", "said"),
    [
        (
            several(ant=9, bee=1),
            5,
            "folds=5: fold 5 leaves no sample for the class bee in train: add different",
        ),
        (several(ant=3, bee=3), 10**20, "00: there are 6 samples only: use fewer folds"),
        ([*several(ant=3, bee=3), sample("copy", "ant", "digest of ant/0.png")], 7, "no sample for the test split"),
        (
            [sample(f"{i}", "ab"[i % 2], group="one") for i in range(9)],
            3,
            "the train split, the val split, the class a in",
        ),
        ([*several(a=9), *(sample(f"{i}", "b", "equal") for i in range(9))], 3, "the class b in train"),
    ],
    ids=["a single sample", "more folds than samples", "than contents", "one group", "one content"],
)
def test_folds_that_lack_something_are_refused(samples: list[Sample], folds: int, said: str) -> None:
    names = sorted({each.label for each in samples})
    with pytest.raises(UserError) as error:
        fold_splits(samples, folds, 0.2, 0, MultiClass(names, []))
    assert said in str(error.value)


def test_labels_of_few_samples_are_not_warned_of_in_each_fold(caplog: pytest.LogCaptureFixture) -> None:
    samples = [sample(str(i), ["a", "b", "a;b"][i % 3]) for i in range(30)] + [sample("x", "a;c"), sample("y", "c")]
    task: Task = MultiLabel(["a", "b", "c"])
    fold_splits(samples, 5, 0.2, 0, task)
    assert not caplog.records
