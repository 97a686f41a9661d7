"""What may be wrong with texts is found, and called by what they are."""

import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import torch

from ft_lightning.check import check
from ft_lightning.cli.compose import compose
from ft_lightning.data.problems import Problem
from ft_lightning.issues import multiclass, multilabel, regression, texts
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
from ft_lightning.issues.label_issues import LabelIssues
from ft_lightning.issues.layout import about_folder, about_groups, about_nesting
from ft_lightning.readers.sample import Inspection, Sample
from ft_lightning.tasks.multiclass import MultiClass


def text(content: str | tuple[str, ...], label: str = "a", split: str | None = None, name: str = "") -> Sample:
    whole = content if isinstance(content, str) else "\n".join(content)
    digest = hashlib.sha256(whole.encode("utf-8", "replace")).hexdigest()
    name = name or f"t.csv#{digest[:6]}"
    return Sample(f"/d/{name}", name, label, digest, split, content=content, kind="text")


def looks(samples: list[Sample]) -> dict[str, Inspection]:
    return {sample.digest: Inspection(1, 0, "text", "", True) for sample in samples}


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        ("A great film", "a great  FILM ", True),
        ("café", "cafe\u0301", True),
        ("ﬁne", "fine", True),
        ("１２３ ok", "123 OK", True),
        ("straße", "STRASSE", True),
        ("two\nlines", "two lines", True),
        (("a b", "c"), ("A B", "c"), True),
        ("a great film", "a great film!", False),
        ("a great film", "a grand film", False),
        ("好 电影", "好电影", False),
    ],
)
def test_case_spaces_and_unicode_forms_make_no_other_text(one: Any, other: Any, alike: bool) -> None:
    samples = [text(one, name="x#2"), text(other, name="x#3")]
    found, issues = texts.about(samples, looks(samples))
    assert [finding.kind for finding in found] == ["copy"] * alike
    assert [(issue.path, issue.kind) for issue in issues] == [("x#3", "copy")] * alike
    assert not any(finding.blocks for finding in found)


def test_the_same_bytes_are_copies_already_and_versions_count_once() -> None:
    samples = [text("Good", name="#1"), text("Good", name="#2"), text("good", name="#3"), text("good", name="#4")]
    _, issues = texts.about(samples, looks(samples))
    assert [issue.path for issue in issues] == ["#3"]
    assert [issue.path for issue in about_copies(samples)[1]] == ["#2", "#4"]
    apart = [text("Good", split="train"), text("good", split="test")]
    assert texts.about(apart, looks(apart)) == ([], []), "those are near-duplicates"


def test_two_spellings_with_two_labels_are_told() -> None:
    samples = [text("Good", "pos", name="#1"), text("good", "neg", name="#2"), text("other", "neg", name="#3")]
    (finding,), issues = texts.about(samples, looks(samples))
    assert finding.said.startswith("1 time a text has two labels, but for case, spaces or Unicode form: #1 and #2")
    assert [(issue.path, issue.kind, issue.label) for issue in issues] == [
        ("#1", "two labels", "pos"),
        ("#2", "two labels", "neg"),
    ]


LENGTHS = {"short": 30, "long": 90}


def of_lengths(pairs: list[tuple[str, int]]) -> list[Sample]:
    return [text(f"{number:03d}".ljust(length, "x"), label) for number, (label, length) in enumerate(pairs)]


@pytest.mark.parametrize(
    ("module", "pairs", "said"),
    [
        (
            multiclass,
            [(label, LENGTHS[label] + i) for label in LENGTHS for i in range(20)],
            r"Texts of short are at most (49|\d\d) characters long, those of long are not\.",
        ),
        (multiclass, [(label, 30 + i) for label in LENGTHS for i in range(40)], ""),
        (multiclass, [("short", 30)] * 20 + [("long", 30)] * 20, ""),
        (
            multiclass,  # a small class is told apart beside a large one
            [("many", 200 + i) for i in range(90)] + [("few", 20 + i) for i in range(10)],
            r"Texts of few are at most .* characters long, those of many are not\.",
        ),
        (
            multilabel,
            [("s;t", 20 + i) for i in range(20)] + [("t", 90 + i) for i in range(20)],
            r"Texts with and without s differ in being at most \d+ characters long\.",
        ),
        (multilabel, [("s", 20 + i) for i in range(20)] + [("t;s", 20 + i) for i in range(20)], ""),
        (
            regression,
            [(str(i), 20 + 2 * i) for i in range(60)],
            r"Texts that are at most \d+ characters long have nearly always lower values than the others\.",
        ),
        (regression, [(str(i), 20 + i % 7) for i in range(60)], ""),
    ],
)
def test_labels_that_lengths_tell(module: LabelIssues, pairs: list[tuple[str, int]], said: str) -> None:
    samples = of_lengths(pairs)
    found = [
        finding for trait in texts.traits(samples, looks(samples)) for finding in module.about_trait(samples, trait)
    ]
    assert bool(found) == bool(said)
    if found:
        assert found[0].kind == "length"
        assert_matches(said, found[0])


def assert_matches(pattern: str, finding: Finding) -> None:
    assert re.fullmatch(pattern, finding.said), finding.said


def reading(tokens: Callable[[str], tuple[int, int]], max_length: int = 16, truncate: str = "head") -> Any:
    """A reader that finds so many tokens and unknown ones in a text."""

    def inspect(sample: Sample) -> tuple[Any, Inspection]:
        return None, Inspection(*tokens(sample.content), "text", "", True)

    return SimpleNamespace(inspect=inspect, max_length=max_length, truncate=truncate)


def of_latin(content: str) -> tuple[int, int]:
    return len(content), sum(not letter.isascii() for letter in content)


@pytest.mark.promise(44)
@pytest.mark.parametrize(
    ("contents", "said"),
    [
        (["这部电影真好看", "服务太差了，不会再来"], "This model cannot read your texts: 100%"),
        (["Этот фильм", "отличный"], "This model cannot read your texts"),
        (["a good film", "naïve café", "well made"], ""),
        ([], ""),
    ],
)
def test_a_tokenizer_that_cannot_read_the_language_is_a_finding(contents: list[str], said: str) -> None:
    found, _ = texts.about_inputs([text(content) for content in contents], reading(of_latin, 99))
    assert [finding.kind for finding in found] == ["unknown tokens"] * bool(said)
    if said:
        assert found[0].said.startswith(said)
        assert "model=transformers" in found[0].fix


@pytest.mark.promise(44)
def test_the_classes_that_cannot_be_read_are_named() -> None:
    samples = [text(f"a plain text {i}", "en") for i in range(40)] + [text(f"好{i}", "zh") for i in range(4)]
    (finding,), _ = texts.about_inputs(samples, reading(of_latin, 99))
    assert finding.said.startswith("This model cannot read the texts of zh 50%")


@pytest.mark.promise(44)
@pytest.mark.parametrize(
    ("lengths", "truncate", "said"),
    [
        ([10, 10, 20], "head", "1 of 3 texts is longer than the 16 tokens that are read of each (head)."),
        ([20, 30, 40], "head_tail", "3 of 3 texts are longer than the 16 tokens that are read of each (head_tail)."),
        ([20, 30, 40], "windows", ""),
        ([16, 16], "head", ""),
        ([17] + [16] * 99, "head", ""),  # one in a hundred
    ],
)
def test_texts_that_are_cut_are_counted(lengths: list[int], truncate: str, said: str) -> None:
    samples = [text(f"{i}".ljust(length, "x")) for i, length in enumerate(lengths)]
    found, _ = texts.about_inputs(samples, reading(of_latin, 16, truncate))
    assert [finding.said for finding in found] == ([said] if said else [])


def test_versions_in_two_splits_are_found_by_their_words() -> None:
    one = "the plot is thin but the acting carries this small film a long way"
    other = "The plot is thin, but the acting carries this small movie a long way!"
    samples = [text(one, split="train"), text(other, split="test"), text("quite another text", split="test")]
    features = torch.nn.functional.normalize(torch.tensor([[1.0, 0, 0], [1, 0.1, 0], [1, 0.2, 0]]))
    ((at, tested, likeness),) = texts.near_duplicates(samples, ["train", "test", "test"], features, reading(of_latin))
    assert (at, tested) == (0, 1)
    assert 0.8 <= likeness < 1


def test_no_finding_about_texts_speaks_of_images(tmp_path: Path) -> None:
    train = [text(f"text {i}", "ab"[i % 2], "train", f"a/b/{i}.txt") for i in range(4)]
    again = [text("text 0", "a", "train", "again"), text("text 1", "a", "train", "two"), text("text 2", "a", "test")]
    samples = [*train, *again]
    for name in ("loose.txt", "notes.md", "photo.heic", ".hidden"):
        (tmp_path / name).touch()
    grouped = [Sample(f"/{i}", str(i), "a", str(i), None, f"g{i}", content="x", kind="text") for i in range(3)]
    found = [
        *about_copies(samples)[0],
        *about_contradictions(samples, False)[0],
        *about_damage([Problem(train[0].path, "a", "train", "it is empty")], samples, False, "on_bad_text")[0],
        *about_lost(MultiClass(["a", "b"], []), {"train": train[:1], "val": [], "test": []}),
        *about_folder(tmp_path, train),
        *about_nesting(train),
        *about_groups(grouped, MultiClass),
        *about_near_duplicates([(train[0], again[2], 0.9)])[0],
        *about_wrong_labels([(train[0], "b", 0.9)], 1, multiclass.LOOKS)[0],
        *about_outliers([(train[1], 4.0)])[0],
    ]
    assert {finding.kind for finding in found} >= {
        *("copy", "two labels", "leak", "damaged", "nothing left", "unused", "no text", "hidden", "groups"),
        *("near-duplicate", "label", "outlier"),
    }
    for finding in found:
        assert "image" not in (finding.said + finding.fix).lower(), finding
        assert "unsupported" not in finding.kind


def test_check_of_a_table_says_what_its_texts_are_like(tmp_path: Path) -> None:
    rows = [(f"great film number {i}, " + "well acted and moving " * 9, "pos") for i in range(40)]
    rows += [(f"bad film {i}", "neg") for i in range(40)]
    rows += [("BAD  film 0", "neg"), ("", "pos"), ("<script>alert(1)</script> 电影", "odd"), ("x" * 10_000, "odd")]
    pd.DataFrame(rows, columns=["text", "label"]).to_csv(tmp_path / "t.csv", index=False)
    cfg = compose("check", "data=texts", f"data.table={tmp_path / 't.csv'}", "features=false", "data.on_bad_text=skip")
    content = check(cfg, tmp_path)
    kinds = [finding["kind"] for finding in content["findings"]]
    assert {"damaged", "copy", "length"} <= set(kinds)
    assert content["characters"] == {**content["characters"], "texts": 83, "longest": 10_000}
    assert content["sizes"] == content["modes"] == {}
    page = (tmp_path / "report.html").read_text()
    assert "Of the texts, in characters." in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt; 电影" in page
    assert "x" * 33 not in page
    assert "image" not in re.sub(r"<style.*?</style>|<svg.*?</svg>", "", page, flags=re.S).replace('class="images"', "")
