"""Each finding is said where it is so, and not where it is not."""

from dataclasses import replace
from pathlib import Path

import pytest

from ft_lightning.data.problems import Problem
from ft_lightning.issues import images, multiclass
from ft_lightning.issues.findings import (
    Finding,
    about_contradictions,
    about_copies,
    about_damage,
    about_lost,
    about_near_duplicates,
    about_outliers,
    about_wrong_labels,
)
from ft_lightning.issues.layout import about_folder, quick_findings
from ft_lightning.readers.sample import Inspection, Sample
from ft_lightning.tasks.multiclass import MultiClass


def some_of(label: str, count: int, split: str | None = None, start: int = 0) -> list[Sample]:
    names = [f"{split or 'x'}/{label}/{number}.png" for number in range(start, start + count)]
    return [Sample(f"/data/{name}", name, label, f"digest of {name}", split) for name in names]


def kinds(findings: list[Finding]) -> list[str]:
    return [finding.kind for finding in findings]


def told(samples: list[Sample], looks: dict[str, Inspection]) -> list[Finding]:
    (trait,) = images.traits(samples, looks)
    return multiclass.about_trait(samples, trait)


TASK = MultiClass(["ant", "bee"], [])
HEALTHY = {
    split: [*some_of("ant", n, split), *some_of("bee", n, split)]
    for split, n in (("train", 20), ("val", 5), ("test", 5))
}


def test_nothing_is_said_of_a_healthy_dataset(tmp_path: Path) -> None:
    samples = [sample for split in HEALTHY.values() for sample in split]
    looks = {sample.digest: Inspection(64, 48, "RGB", "", True) for sample in samples}
    assert quick_findings(TASK, HEALTHY, in_folders=True) == []
    assert about_contradictions(samples, allow_leak=False) == ([], [])
    assert images.about(samples, looks) == ([], [])
    assert told(samples, looks) == []
    assert about_damage([], samples, may_be_skipped=False, on_bad="on_bad_image") == ([], [])
    (tmp_path / "ant").mkdir()
    (tmp_path / "ant/1.png").touch()
    assert about_folder(tmp_path, [Sample(str(tmp_path / "ant/1.png"), "ant/1.png", "ant", "1", None)]) == []
    assert about_near_duplicates([]) == about_wrong_labels([], 0, "") == about_outliers([]) == ([], [])


def test_small_missing_and_unequal_classes() -> None:
    splits = {
        **HEALTHY,
        "train": [*some_of("ant", 50, "train"), *some_of("bee", 9, "train"), *some_of("cat", 5, "train")],
    }
    found, _ = multiclass.about_labels(TASK, splits)
    assert kinds(found) == ["small class", "missing class", "missing class", "imbalance"]
    assert "2 classes have fewer than 10 samples in train: bee, cat" in found[0].said
    assert "val has no sample of 1 class: cat" in found[1].said
    assert "test has no sample of 1 class: cat" in found[2].said
    assert "ant has 50 samples in train, cat 5" in found[3].said
    assert not any(finding.blocks for finding in found)
    assert quick_findings(TASK, splits, in_folders=True) == found


def test_copies_in_one_split_are_rows_and_a_leak_is_no_copy() -> None:
    one, *_ = some_of("ant", 1, "train")
    copy = Sample("/data/again.png", "again.png", "ant", one.digest, "train")
    leak = Sample("/data/leak.png", "leak.png", "ant", one.digest, "test")
    found, issues = about_copies([one, copy, leak])
    assert kinds(found) == ["copy"]
    assert [(issue.path, issue.suggestion) for issue in issues] == [("again.png", f"the same bytes as {one.name}")]
    found, issues = about_contradictions([one, copy, leak], allow_leak=False)
    assert [(finding.kind, finding.blocks) for finding in found] == [("leak", True)]
    assert [issue.path for issue in issues] == [one.name, copy.name], "both in train are to be left out"
    assert kinds(about_copies([leak, one, copy])[0]) == ["copy"], "whatever comes first"
    assert not about_contradictions([one, copy, leak], allow_leak=True)[0][0].blocks


def test_two_labels_block_and_both_can_be_excluded() -> None:
    one, *_ = some_of("ant", 1)
    other = Sample("/data/b.png", "b.png", "bee", one.digest)
    found, issues = about_contradictions([one, other], allow_leak=False)
    assert [(finding.kind, finding.blocks) for finding in found] == [("two labels", True)]
    rows = [(issue.path, issue.label, issue.suggestion) for issue in issues]
    assert rows == [(one.name, "ant", "bee, as b.png"), (other.name, "bee", f"ant, as {one.name}")]


def test_damage_blocks_unless_it_may_be_skipped() -> None:
    samples = some_of("ant", 3)
    problem = Problem(samples[1].path, "ant", "", "an empty file")
    for skipped in (False, True):
        found, issues = about_damage([problem], samples, may_be_skipped=skipped, on_bad="on_bad_image")
        assert [(finding.kind, finding.blocks) for finding in found] == [("damaged", not skipped)]
        assert [(issue.path, issue.suggestion) for issue in issues] == [(samples[1].name, "an empty file")]


def test_what_damage_leaves_nothing_of_blocks() -> None:
    usable = {**HEALTHY, "val": [], "train": some_of("ant", 20, "train")}
    (found,) = about_lost(TASK, usable)
    assert found.blocks
    assert "nothing is left of the val split, the class bee in train" in found.said
    assert about_lost(TASK, HEALTHY) == []
    assert kinds(multiclass.about_labels(TASK, {split: [] for split in HEALTHY})[0]) == [], (
        "nor is anything said of nothing"
    )


def test_odd_sizes_and_a_colour_mode_that_gives_a_class_away() -> None:
    samples = [*some_of("ant", 10), *some_of("bee", 10)]
    looks = {sample.digest: Inspection(64, 64, "L" if sample.label == "bee" else "RGB", "", True) for sample in samples}
    looks[samples[0].digest] = Inspection(31, 40, "RGB", "", True)
    looks[samples[1].digest] = Inspection(400, 90, "RGB", "", True)
    found = [*images.about(samples, looks)[0], *told(samples, looks)]
    assert kinds(found) == ["small image", "long image", "colour mode"]
    assert samples[0].name in found[0].said
    assert samples[1].name in found[1].said
    assert "Images of bee are L, those of ant are not" in found[2].said
    looks[samples[0].digest] = looks[samples[1].digest] = Inspection(64, 64, "L", "", True)
    assert told(samples, looks) == [], "two of ten are grey too"

    for number, sample in enumerate(samples):  # nine of ten, and one of ten
        mode = "RGB" if (sample.label == "ant") == (number % 10 > 0) else "L"
        looks[sample.digest] = Inspection(64, 64, mode, "", True)
    (found,) = told(samples, looks)
    assert found.said == "Images of bee are L, those of ant are not."


def test_what_is_suspicious_is_a_row_with_what_to_do() -> None:
    a, b, c = some_of("ant", 3)
    each = (
        about_near_duplicates([(c, a, 0.999)]),
        about_wrong_labels([(a, "bee", 0.9)], 1, multiclass.LOOKS),
        about_outliers([(b, 4.0)]),
    )
    found, issues = ([one for part in parts for one in part] for parts in zip(*each, strict=True))
    assert kinds(found) == ["near-duplicate", "label", "outlier"]
    assert [(i.path, i.kind, i.score, i.suggestion) for i in issues] == [
        (c.name, "near-duplicate", 0.999, f"as {a.name}"), (a.name, "label", 0.9, "bee"), (b.name, "outlier", 4.0, ""),
    ]  # fmt: skip
    assert about_wrong_labels([(a, "bee", 0.9)], 0, "") == ([], []), "none of them is probably wrong"
    _, issues = about_wrong_labels([(a, "bee", 0.9), (b, "bee", 0.8), (c, "bee", 0.7)], 1, "")
    assert [issue.path for issue in issues] == [a.name, b.name], "twice as many as are probably wrong"


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (1, ["1 class has fewer than 10 samples in train: c0", "1 file is a copy of another", "1 of 30 images cannot"]),
        (
            2,
            ["2 classes have fewer than 10 samples in train: c0, c1", "2 files are copies of others", "2 of 30 images"],
        ),
    ],
)
def test_one_is_singular(number: int, said: list[str], tmp_path: Path) -> None:
    small = [sample for i in range(number) for sample in some_of(f"c{i}", 9, "train")]
    first, *_ = healthy = some_of("ant", 30, "train")
    copies = [replace(first, path=f"/again/{i}", name=f"again/{i}") for i in range(number)]
    problems = [Problem(sample.path, "ant", "train", "damaged") for sample in healthy[:number]]
    found = [
        *multiclass.about_labels(TASK, {split: [*healthy, *small] for split in HEALTHY})[0],
        *about_copies([first, *copies])[0],
        *about_damage(problems, healthy, may_be_skipped=False, on_bad="on_bad_image")[0],
    ]
    assert [finding.said[: len(words)] for finding, words in zip(found, said, strict=True)] == said
    for name in ["loose.png", "notes.txt", "raw.heic", ".hidden"] + ["2.png", "2.txt", "2.nef", ".2"] * (number - 1):
        (tmp_path / name).touch()
    looked = " ".join(finding.said for finding in about_folder(tmp_path, []))
    singular = ("image is in no class", "file has a format", "file has no name", "hidden or system file is skipped")
    plural = (
        "images are in no class",
        "files have formats",
        "files have no name",
        "hidden or system files are skipped",
    )
    for words in singular if number == 1 else plural:
        assert f"{number} {words}" in looked
    pairs = [(first, copies[0], 0.9)] * number
    parts = (
        about_near_duplicates(pairs),
        about_wrong_labels([(first, "bee", 0.1)] * 4, number, ""),
        about_outliers([(first, 0.1)] * number),
    )
    looked = " ".join(finding.said for found, _ in parts for finding in found)
    assert (" is " in looked, " are " in looked) == (number == 1, number == 2)
