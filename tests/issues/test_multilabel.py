"""What is said of labels of which a sample has any number, and which of them are suspicious."""

import json
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pytest
import torch

from conftest import write_pictures
from ft_lightning.check import check
from ft_lightning.cli.compose import compose
from ft_lightning.issues import images, multilabel
from ft_lightning.issues.layout import about_groups
from ft_lightning.pages.check import write as write_page
from ft_lightning.readers.sample import Inspection, Sample
from ft_lightning.runs.run import Run
from ft_lightning.system.tables import read_table, write_table
from ft_lightning.tasks.multilabel import MultiLabel
from ft_lightning.train import train

TINY = ["model=timm", "model.name=test_resnet", "model.weights=null", "precision=32-true"]


def labelled(*labels: str, split: str = "train", groups: Sequence[str] | None = None) -> list[Sample]:
    names = [f"{split}/{number}.png" for number in range(len(labels))]
    return [
        Sample(f"/d/{name}", name, label, f"digest of {name}", split, groups[i] if groups else None)
        for i, (name, label) in enumerate(zip(names, labels, strict=True))
    ]


def said_of(train: list[Sample], val: list[Sample] | None = None) -> dict[str, str]:
    splits = {"train": train, "val": train if val is None else val, "test": train}
    task = MultiLabel.of({"train": [sample.label for sample in train]})
    found, issues = multilabel.about_labels(task, splits)
    assert issues == []
    assert not any(finding.blocks for finding in found)
    return {finding.kind: finding.said for finding in found}


HEALTHY = ["cat;dog"] * 15 + ["cat"] * 15 + ["dog"] * 15 + [""] * 15


def test_nothing_is_said_of_healthy_labels() -> None:
    assert said_of(labelled(*HEALTHY)) == {}
    assert multilabel.about_labels(MultiLabel(["cat"]), {"train": [], "val": [], "test": []}) == ([], [])


@pytest.mark.parametrize(
    ("train", "val", "expected"),
    [
        (HEALTHY + ["owl"] * 9, HEALTHY, {"small label": "1 label has fewer than 10 samples in train: owl.",
                                          "missing label": "1 label has no sample in val: owl."}),
        (HEALTHY + ["cat"] * 300, None, {"imbalance": "330 samples of train have the label cat, 30 have dog."}),
        (["cat;dog"] * 30 + ["dog"] * 15, None, {"common label": "1 label is missing in fewer than 10 samples of "
                                                                 "train: dog."}),
        (["cat;dog"] * 30 + ["owl"] * 15, None, {"same labels": "1 set of labels is always together in train: cat "
                                                                "and dog."}),
        (["cat"] * 20 + ["dog"] * 20, None, {"one label": "Every sample of train has exactly one label."}),
        (HEALTHY + [""] * 60, None, {"no label": "75 of 120 samples of train have none of the labels."}),
        ([""] * 20 + ["cat"] * 15, None, {"no label": "20 of 35 samples of train have none of the labels."}),
    ],
)  # fmt: skip
def test_what_is_odd_about_labels_is_told(train: list[str], val: list[str] | None, expected: dict[str, str]) -> None:
    assert said_of(labelled(*train), labelled(*val, split="val") if val else None) == expected


def test_a_colour_mode_that_gives_a_label_away() -> None:
    samples = labelled(*HEALTHY)
    for grey, given_away in (("cat", "cat"), ("", None)):
        looks = {
            sample.digest: Inspection(64, 64, "L" if grey and grey in sample.label else "RGB", "", True)
            for sample in samples
        }
        (trait,) = images.traits(samples, looks)
        found = multilabel.about_trait(samples, trait)
        assert [given_away in finding.said for finding in found] == ([True] if given_away else [])


def test_groups_are_counted_by_label() -> None:
    samples = labelled("cat;dog", "cat", "dog", "", groups=["a", "a", "b", "b"])
    (found,) = about_groups(samples, MultiLabel)
    assert "4 images are in 2 groups of 2 (cat 1, dog 2)" in found.said


def two_digits(digits: tuple[torch.Tensor, torch.Tensor], count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Features of two digits together, and a label for each."""
    features, classes = digits
    pairs = torch.randint(len(classes), (count, 2), generator=torch.Generator().manual_seed(seed))
    return features[pairs].mean(1), torch.nn.functional.one_hot(classes[pairs], 10).amax(1)


def texts(targets: torch.Tensor) -> list[str]:
    return [";".join(str(i) for i in row.nonzero()[:, 0].tolist()) for row in targets]


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_four_of_five_samples_with_a_flipped_label_are_within_the_first_twice_as_many(
    digits: tuple[torch.Tensor, torch.Tensor], seed: int
) -> None:
    features, targets = two_digits(digits, 1500, seed)
    generator = torch.Generator().manual_seed(seed)
    planted = torch.randperm(len(targets), generator=generator)[:45]
    flipped = torch.randint(10, (45,), generator=generator)
    labels = targets.clone()
    labels[planted, flipped] = 1 - labels[planted, flipped]
    found, estimated = multilabel.suspects(MultiLabel(list("0123456789")), features, texts(labels), None, seed=0)
    scores = [score for _, _, score in found]
    assert scores == sorted(scores, reverse=True)
    assert len({at for at, _, _ in found[:90]} & set(planted.tolist())) >= 0.8 * 45
    said = {at: suggestion.split() for at, suggestion, _ in found}
    mend = [
        f"{'-' if labels[at, which] else '+'}{which}" in said.get(at, [])
        for at, which in zip(planted.tolist(), flipped.tolist(), strict=True)
    ]
    assert sum(mend) >= 0.8 * 45, "it says which label to take away or to add"
    assert 0.5 * 45 < estimated < 3 * 45


def test_rare_labels_are_not_judged_and_groups_stay_whole(digits: tuple[torch.Tensor, torch.Tensor]) -> None:
    features, targets = two_digits(digits, 200, seed=0)
    labels = texts(targets)
    labels[:4] = [f"{label};rare" for label in labels[:4]]
    task = MultiLabel([*"0123456789", "rare"])
    found, _ = multilabel.suspects(task, features, labels, None, seed=0)
    assert found
    assert not any("rare" in suggestion for _, suggestion, _ in found)
    assert multilabel.suspects(task, features, labels, [str(i % 4) for i in range(200)], seed=0) == ([], 0)
    noise = torch.randn(60, 200, generator=torch.Generator().manual_seed(0)).repeat_interleave(2, 0)
    answers = ["cat" if i // 2 % 2 else "" for i in range(120)]
    pairs = [str(i // 2) for i in range(120)]
    alone, _ = multilabel.suspects(MultiLabel(["cat"]), noise, answers, None, seed=0)
    whole, _ = multilabel.suspects(MultiLabel(["cat"]), noise, answers, pairs, seed=0)
    assert len(whole) > len(alone) + 20, "a copy in another fold would give the answer away"


def table_of(folder: Path) -> Path:
    """Images with and without two labels, of which one is none."""
    root = write_pictures(folder, {"cat": 24, "dog": 24})
    rows = [(f"cat/{i:02d}.png", "cat;big" if i % 2 else "cat") for i in range(24)]
    rows += [(f"dog/{i:02d}.png", "big" if i % 2 else "") for i in range(24)]
    write_table(pd.DataFrame(rows, columns=["path", "label"]), root / "labels.csv")
    return root


def test_check_and_train_look_at_labels_and_what_is_excluded_takes_no_part(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = table_of(tmp_path / "data")
    (root / "cat/01.png").write_bytes((root / "cat/03.png").read_bytes())  # both cat;big: a copy
    options = ["task=multilabel", "data=image_folder", f"data.csv={root / 'labels.csv'}", f"data.root={root}", *TINY]
    (tmp_path / "check").mkdir()
    content = check(compose("check", *options), tmp_path / "check")
    assert content["can_train"]
    assert content["task"] == "multilabel"
    sums = {name: sum(count.get(name, 0) for count in content["classes"].values()) for name in ("cat", "big", "(none)")}
    assert sums == {"cat": 24, "big": 24, "(none)": 12}
    assert list(content["shown"]) == ["(none)", "big", "cat"]
    assert content["modes"]["cat"] == {"RGB": 24}
    html = (tmp_path / "check/report.html").read_text()
    for words in ("Samples with each label", "Some of each label", "big: big;cat", "<dt>labels</dt><dd>2</dd>"):
        assert words in html, words
    assert write_page(Run(tmp_path / "check")).read_text() == html
    issues = read_table(tmp_path / "check/issues.csv")
    assert list(issues.columns) == ["path", "kind", "score", "label", "suggestion"]
    (copy,) = issues[issues["kind"] == "copy"].itertuples()
    assert copy.label == "big;cat"
    write_table(issues[issues["kind"] == "copy"], tmp_path / "mine.csv")
    (tmp_path / "run").mkdir()
    capsys.readouterr()
    train(compose("train", *options, f"data.exclude={tmp_path / 'mine.csv'}", "trainer.max_epochs=1"), tmp_path / "run")
    assert "labels" in capsys.readouterr().out
    split = read_table(tmp_path / "run/split.csv")
    assert split.loc[split["excluded"] == "data.exclude", "path"].tolist() == [copy.path]


def test_two_sets_of_labels_for_the_same_bytes_are_told(tmp_path: Path) -> None:
    root = table_of(tmp_path / "data")
    (root / "dog/00.png").write_bytes((root / "cat/03.png").read_bytes())
    options = ["task=multilabel", "data=image_folder", f"data.csv={root / 'labels.csv'}", f"data.root={root}"]
    with pytest.raises(Exception, match="1 time the same image has two labels"):
        check(compose("check", *options, "features=false"), tmp_path)
    issues = read_table(tmp_path / "issues.csv")
    rows = {(row.path, row.label, row.suggestion) for row in issues[issues["kind"] == "two labels"].itertuples()}
    assert rows == {("cat/03.png", "big;cat", "(none), as dog/00.png"), ("dog/00.png", "", "big;cat, as cat/03.png")}
    assert json.loads((tmp_path / "check.json").read_text())["findings"]


@pytest.mark.parametrize(
    ("labels", "said"), [(["0", "1"], "The labels are 0 and 1."), (["cat", "dog"], "Every sample")]
)
def test_a_column_of_0_and_1_that_is_read_as_labels_is_told(labels: list[str], said: str) -> None:
    assert said_of(labelled(*labels * 15))["one label"].startswith(said)
