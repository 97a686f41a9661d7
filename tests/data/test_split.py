"""Splits: by content, stratified, whole groups, nearly stable, the same everywhere."""

import hashlib
import random
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ft_lightning.data.groups import grouped
from ft_lightning.data.split import refuse_leaks, split_samples
from ft_lightning.readers.sample import Sample
from ft_lightning.system.errors import UserError
from ft_lightning.tasks.multiclass import MultiClass
from ft_lightning.tasks.regression import Regression


def sample(
    label: str, number: int, split: str | None = None, group: str | None = None, content: str | None = None
) -> Sample:
    name = f"{label}/{number}.png"
    return Sample(f"/d/{name}", name, label, hashlib.sha256((content or name).encode()).hexdigest(), split, group)


def cut(
    samples: list[Sample], val: float = 0.2, test: float = 0.2, seed: int = 0, allow_leak: bool = False
) -> dict[str, str]:
    if not allow_leak:
        refuse_leaks(samples)
    splits = split_samples(samples, val, test, seed, MultiClass(sorted({s.label for s in samples}), []))
    names = [(s.name, split) for split, members in splits.items() for s in members]
    assert len(names) == len(dict(names)) == len(samples), "every sample is in exactly one split"
    return dict(names)


@pytest.mark.parametrize("counts", [{"a": 50, "b": 500}, {"a": 3, "b": 100}, {"a": 7, "b": 8}])
def test_each_class_is_cut_at_the_fractions_and_is_in_every_split(counts: dict[str, int]) -> None:
    where = cut([sample(label, i) for label, n in counts.items() for i in range(n)])
    for label, n in counts.items():
        got = Counter(split for name, split in where.items() if name.startswith(f"{label}/"))
        assert set(got) == {"train", "val", "test"}
        assert abs(got["val"] - 0.2 * n) <= 1
        assert abs(got["test"] - 0.2 * n) <= 1


def test_order_and_names_do_not_matter_but_the_seed_does() -> None:
    samples = [sample(label, i, content=f"{label}{i}") for label in "ab" for i in range(100)]
    shuffled = random.Random(0).sample(samples, len(samples))
    assert cut(samples) == cut(shuffled)
    renamed = [Sample(f"/other/{s.digest}", s.digest, s.label, s.digest) for s in samples]
    assert {s.digest: cut(samples)[s.name] for s in samples} == cut(renamed)
    assert cut(samples, seed=1) != cut(samples)


def test_adding_a_tenth_moves_few() -> None:
    samples = [sample(label, i) for label in "abc" for i in range(200)]
    before, after = cut(samples), cut(samples + [sample(label, 1000 + i) for label in "abc" for i in range(20)])
    assert sum(before[name] != after[name] for name in before) <= 0.05 * len(before)


def test_identical_files_stay_together() -> None:
    samples = [sample("a", i, content=f"same{i // 4}") for i in range(40)] + [sample("b", i) for i in range(40)]
    where = cut(samples)
    for start in range(0, 40, 4):
        assert len({where[f"a/{i}.png"] for i in range(start, start + 4)}) == 1


def test_groups_stay_whole_and_shares_are_kept_as_far_as_they_allow() -> None:
    samples = [sample(label, i, group=f"patient{i % 25}") for label in "ab" for i in range(200)]
    where = cut(samples)
    by_group: dict[str, set[str]] = {}
    for s in samples:
        by_group.setdefault(str(s.group), set()).add(where[s.name])
    assert all(len(splits) == 1 for splits in by_group.values())
    shares = Counter(where.values())
    assert all(0.15 <= shares[split] / 400 <= 0.25 for split in ("val", "test"))


def test_a_copy_ties_two_groups_together() -> None:
    samples = [sample("a", i, group=f"g{i}", content="copy" if i < 2 else None) for i in range(30)]
    samples += [sample("b", i, group=f"h{i}") for i in range(30)]
    for seed in range(10):
        where = cut(samples, seed=seed)
        assert where["a/0.png"] == where["a/1.png"]


def test_a_given_test_split_is_kept_and_val_is_cut_off_train() -> None:
    samples = [sample(label, i, split="test" if i < 5 else "train") for label in "ab" for i in range(25)]
    where = cut(samples)
    assert {name for name, split in where.items() if split == "test"} == {
        f"{c}/{i}.png" for c in "ab" for i in range(5)
    }
    assert Counter(where.values()) == {"test": 10, "val": 8, "train": 32}


def test_a_full_layout_is_left_as_it_is() -> None:
    samples = [sample("a", i, split=split) for i, split in enumerate(("train", "val", "test"))]
    assert cut(samples, val=0.0, test=0.0) == {"a/0.png": "train", "a/1.png": "val", "a/2.png": "test"}


@pytest.mark.promise(17)
def test_the_same_picture_in_train_and_test_is_refused_unless_allowed() -> None:
    samples = [sample("a", i, split=split, content="same") for i, split in enumerate(("train", "val", "test"))]
    with pytest.raises(UserError, match=r"2 images of val or test are in train too: a/0\.png and a/1\.png"):
        cut(samples)
    assert cut(samples, allow_leak=True)["a/2.png"] == "test"


def test_a_group_in_train_and_test_is_refused_unless_allowed() -> None:
    samples = [
        sample(label, i, split=split, group=f"{label}{i % 2}")
        for label in "ab"
        for i, split in enumerate(("train", "val", "test"))
    ]
    with pytest.raises(UserError, match=r"a/0\.png and a/2\.png \(the same group\)"):
        cut(samples)
    assert cut(samples, allow_leak=True)["a/2.png"] == "test"


def test_any_mixture_of_sizes_copies_and_groups_is_cut_whole() -> None:
    rng = random.Random(0)
    for trial in range(200):
        samples = [
            sample(
                label,
                i,
                group=rng.choice([None, f"g{rng.randrange(40)}"]),
                content=rng.choice([None, f"{label}{rng.randrange(60)}"]),
            )
            for label in "abcd"[: rng.randint(2, 4)]
            for i in range(rng.randint(12, 80))
        ]
        where = cut(samples, val=rng.uniform(0.05, 0.4), test=rng.uniform(0.05, 0.4), seed=trial)
        for key in ("digest", "group"):
            places: dict[str, set[str]] = {}
            for s in samples:
                if (value := getattr(s, key)) is not None:
                    places.setdefault(value, set()).add(where[s.name])
            assert all(len(splits) == 1 for splits in places.values())


@pytest.mark.parametrize(
    ("val", "test", "said"),
    [(0.0, 0.2, "val_fraction=0.0"), (0.2, 1.0, "test_fraction=1.0"), (0.5, 0.5, "nothing for train")],
)
def test_impossible_fractions_are_named(val: float, test: float, said: str) -> None:
    with pytest.raises(UserError, match=said):
        cut([sample("a", i) for i in range(10)], val, test)


def test_classes_too_small_to_test_are_reported_and_nothing_but_such_is_refused(
    caplog: pytest.LogCaptureFixture,
) -> None:
    where = cut([sample("rare", 0), sample("rare", 1)] + [sample("b", i) for i in range(10)])
    assert where["rare/0.png"] == where["rare/1.png"] == "train"
    assert "too few different images to be tested, all are in train: rare" in caplog.text
    with pytest.raises(UserError, match=r"split is empty: there are too few different samples \(2 of 22; a group"):
        cut([sample(label, i, content=label) for label in "ab" for i in range(11)])


PATIENTS = [sample(label, 0, content=f"{label}{i}") for label in "ab" for i in range(32)]
PATIENTS = [replace(s, name=f"{s.label}/patient{s.label}{i % 32 // 4}_{i % 4}.png") for i, s in enumerate(PATIENTS)]


@pytest.mark.promise(39)
@pytest.mark.parametrize(
    ("pattern", "groups", "whole"),
    [
        (r"(patient\w\d)_(\d)", 64, lambda name: name),
        (r"(patient\w\d)_\d", 16, lambda name: name[:-6]),
        (r"patient\w\d", 16, lambda name: name[:-6]),
        (r"patient(\w)(\d)", 16, lambda name: name[:-6]),
        (r"(patient(\w)\d)_", 16, lambda name: name[:-6]),
        (r"(?:patient\w\d)_(\d)", 4, lambda name: name[-5]),
        (r"(?P<who>patient\w\d)_(?P<shot>\d)?", 64, lambda name: name),
        (r"patient(a)?.(\d)?", 9, lambda name: "" if name[0] == "a" else name[:-6]),
    ],
)
def test_all_parentheses_together_are_the_group(pattern: str, groups: int, whole: Callable[[str], str]) -> None:
    found = grouped(PATIENTS, pattern)
    assert len({s.group for s in found}) == groups
    together = {whole(s.name): s.group for s in found}
    assert all(together[whole(s.name)] == s.group for s in found)


@pytest.mark.promise(39)
def test_an_optional_part_that_takes_no_part_differs_from_one_that_is_empty() -> None:
    names = ["x_1.png", "x_.png", "x1.png", "x2.png", "x_1.jpg"]
    samples = [replace(s, name=name) for s, name in zip(PATIENTS, names, strict=False)]
    both = [s.group for s in grouped(samples, r"x(_(\d?))?")]
    assert both[0] == both[4]
    assert both[2] == both[3]
    assert len(set(both)) == 3
    one = [s.group for s in grouped(samples, r"x(?:_(\d?))?")]
    assert [one[0], one[1]] == ["1", ""]
    assert one[2] == one[3] not in ("", "1")


@pytest.mark.parametrize(
    ("pattern", "said"),
    [("(", "not a regular expression"), ("a{99999999999}", "not a regular expression"), ("b/", "does not match 32")],
)
def test_a_pattern_that_cannot_group_is_refused(pattern: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        grouped(PATIENTS, pattern)


def test_a_pattern_may_be_a_number() -> None:
    assert {s.group for s in grouped([replace(s, name=f"2024/{s.name}") for s in PATIENTS], 2024)} == {"2024"}  # type: ignore[arg-type]


PARTS = st.recursive(
    st.sampled_from(["p", r"\d", r"\w", "_", ".", "[ab]", "x", r"\d+"]),
    lambda inner: (
        st.builds("({})".format, inner)
        | st.builds("({})?".format, inner)
        | st.builds("(?:{})".format, inner)
        | st.builds("({}|{})".format, inner, inner)
        | st.builds("{}{}".format, inner, inner)
    ),
    max_leaves=6,
)


@pytest.mark.promise(39)
@settings(max_examples=30, deadline=None, derandomize=True, database=None)
@given(st.lists(PARTS, min_size=1, max_size=4).map("".join), st.integers(0, 3))
def test_any_pattern_keeps_its_groups_whole(pattern: str, seed: int) -> None:
    names = [f"{label}/p{i // 8}{i % 8 // 2}_{i % 2}.png" for label in "ab" for i in range(40)]
    samples = [replace(sample(name[0], 0, content=name), name=name) for name in names]
    if not all(re.search(pattern, name) for name in names):
        with pytest.raises(UserError, match="does not match"):
            grouped(samples, pattern)
        return
    found = grouped(samples, pattern)
    key = {name: (match.groups() or match[0]) for name in names if (match := re.search(pattern, name))}
    for one in found:
        for other in found:
            assert (one.group == other.group) == (key[one.name] == key[other.name])
    try:
        where = cut(found, seed=seed)
    except UserError:  # too few groups to split
        return
    assert len({(key[name], split) for name, split in where.items()}) == len(set(key.values()))


@pytest.mark.parametrize(
    ("val", "test", "said"),
    [
        (0.0, 0.2, r"^data\.val_fraction=0\.0: give a share"),
        (0.2, 1.0, r"^data\.test_fraction=1\.0: give a share"),
        (1.5, 0.2, r"^data\.val_fraction=1\.5: give a share"),
        (0.2, -0.1, r"^data\.test_fraction=-0\.1: give a share"),
        (0.5, 0.5, r"^data\.val_fraction=0\.5 and data\.test_fraction=0\.5 leave nothing for train"),
    ],
)
def test_fractions_that_leave_a_split_empty_are_refused(val: float, test: float, said: str) -> None:
    with pytest.raises(UserError, match=said):
        cut([sample(label, i) for label in "ab" for i in range(10)], val, test)


def test_as_many_groups_of_numbers_as_ranges_are_split_too() -> None:
    samples = [sample(str(group * 20 + i), i, group=f"patient {group}") for group in range(6) for i in range(20)]
    splits = split_samples(samples, 0.2, 0.2, 0, Regression(["age"]))
    found = {split: {s.group for s in those} for split, those in splits.items()}
    assert sorted(map(len, found.values())) == [1, 1, 4]
    assert sum(map(len, found.values())) == 6, "groups are whole"
    with pytest.raises(UserError, match=r"The val split is empty: there are too few different samples \(2 of 40"):
        split_samples(samples[:40], 0.2, 0.2, 0, Regression(["age"]))
