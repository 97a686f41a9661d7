"""A CSV becomes samples, or a message that says why not."""

import csv
import io
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ft_lightning.data.labels import Labels
from ft_lightning.data.scan import scan
from ft_lightning.data.sources import find_images
from ft_lightning.data.table import list_table
from ft_lightning.readers.sample import Sample
from ft_lightning.system.errors import UserError


def listed(table: Path, root: Path | None = None) -> list[Sample]:
    return scan(find_images, root and str(root), str(table), Labels())


def test_a_csv_gives_labels_splits_and_groups(pictures: Path, tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    rows = [("pictures/ant/00.png", "1", "train", "p1"), ("pictures/bee/00.png", "2", "val", "p2")]
    pd.DataFrame(rows, columns=["path", "label", "split", "group"]).to_csv(table, index=False)
    samples = listed(table)
    assert [(s.name, s.label, s.split, s.group) for s in samples] == rows
    assert Path(samples[0].path).is_absolute()


def test_a_csv_may_be_named_by_a_relative_path(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "t.csv").write_text("path,label,group\n./pictures/ant/../ant/00.png,a,g\npictures/bee/00.png,b,\n")
    monkeypatch.chdir(tmp_path)
    samples = listed(Path("t.csv"))
    assert [(s.name, s.group) for s in samples] == [("pictures/ant/00.png", "g"), ("pictures/bee/00.png", None)]
    assert [s.name for s in listed(Path("t.csv"), Path())] == [s.name for s in samples]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("file,label\na,b\n", "no column 'path'"),
        ("path,label\n", "no rows"),
        ("path,label\nant/00.png,a,\n", "more cells than the header"),
        ("path,label\nnone.png,a\n", r"names 1 file, none of which exists: .*none\.png"),
        ("path,label,split\nant/00.png,a,holdout\n", "split 'holdout' is unknown"),
        ("path,label\nant/00.png,\n", "1 sample has no label: ant/00.png"),
        ("path,label\nant/00.png,a\nant/00.png,b\n", "more than once"),
        ("path,label\nant/00.png,a\nant/../ant/00.png,b\n", "more than once"),
    ],
)
def test_a_wrong_csv_is_explained(pictures: Path, content: str, said: str) -> None:
    table = pictures / "t.csv"
    table.write_text(content)
    with pytest.raises(UserError, match=said):
        listed(table)


def test_some_missing_files_of_a_csv_are_problems_of_theirs(pictures: Path) -> None:
    table = pictures / "t.csv"
    table.write_text(f"path,label\nant/00.png,a\nnone.png,a\nbee,b\n{'x' * 300}.png,b\n")
    said = {sample.name[:5]: sample.problem for sample in listed(table)}
    assert said == {
        "ant/0": "",
        "none.": "no such file",
        "bee": "not a file",
        "xxxxx": "cannot be read (File name too long)",
    }


def table_of(folder: Path, content: str | bytes) -> Path:
    table = folder / "t.csv"
    table.write_bytes(content if isinstance(content, bytes) else content.encode())
    return table


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("path,label\nhttps://a.org/1.jpg,a\ns3://b/2.jpg,b\nant/00.png,c\n", r"2 paths are addresses: https://a\.org"),
        ("path,label\nfile:///d/1.jpg,a\n", "1 path is an address"),
        ("path,label\n,a\nant/00.png,b\n", r"row 2 has no path \(1 such"),
        ("path,label\n\n,a\nant/00.png,b\n", r"row 3 has no path"),
        ("path,label\nant/00.png, \n", "1 sample has no label: ant/00.png"),
        ("path,label,label\nant/00.png,a,b\n", "two columns are called 'label'"),
        ("path; label ;label\nant/00.png;a;b\n", "two columns are called 'label'"),
        ("path,label\nant/00.png,0\nbee/00.png,0.0\ncat/00.png,1\n", "labels '0' and '0.0' read the same"),
        ("path,label\nant/00.png,10\nbee/00.png,10.\n", "labels '10' and '10.' read the same"),
        ("path,label\nant/00.png,-1\nbee/00.png,-1.00\n", "write the number in one way"),
        ("path,label\nant/00.png,\u200b\nbee/00.png,b\n", "a label is a text, and not empty"),
        ("path,label,split\nant/00.png,a,train\nbee/00.png,b,\n", "some rows have a split and some have none"),
        ("path,label\nant/00.png,a\nbee/00.png,b\n".encode("utf-16"), "is not UTF-8"),
        ("path,label\nant/00.png,\u00e9\n".encode("cp1252"), "is not UTF-8"),
        ("", "is not a table"),
        ('path,label\nant/00.png,"a\n', "is not a table"),
        ("path,label\nant/00.png,a\nbee/00.png,b,c\n", "more cells than the header"),
    ],
)
def test_what_a_csv_cannot_mean_is_said(pictures: Path, content: str | bytes, said: str) -> None:
    with pytest.raises(UserError, match=said):
        listed(table_of(pictures, content))


@pytest.mark.parametrize("labels", [("1.1", "1.10"), ("1", "01"), ("v1", "v1.0"), ("1e0", "1")])
def test_labels_that_only_look_alike_stay_two_classes(pictures: Path, labels: tuple[str, str]) -> None:
    rows = "".join(f"ant/{number:02d}.png,{label}\n" for number, label in enumerate(labels))
    assert [sample.label for sample in listed(table_of(pictures, f"path,label\n{rows}"))] == list(labels)


def test_paths_as_windows_and_shells_write_them(pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(pictures.parent))
    monkeypatch.setenv("USERPROFILE", str(pictures.parent))
    (pictures / "odd\\name.png").write_bytes((pictures / "cat/00.png").read_bytes())
    (pictures / "~").mkdir()
    rows = ["ant\\00.png,a", ".\\bee\\00.png,b", "~/pictures/cat/01.png,c", "odd\\name.png,d"]
    samples = listed(table_of(pictures, "\n".join(["path,label", *rows])))
    assert {sample.label: sample.name for sample in samples} == {
        "a": "ant/00.png", "b": "bee/00.png", "c": "cat/01.png", "d": "odd\\name.png",
    }  # fmt: skip
    assert not any(sample.problem for sample in samples)


def test_splits_may_be_spelled_as_folders_may(pictures: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = "ant/00.png,a,Training\nbee/00.png,b,valid\nbee/01.png,b,dev\ncat/00.png,c, test\n"
    samples = listed(table_of(pictures, f"path,label,split\n{rows}"))
    assert [sample.split for sample in samples] == ["train", "val", "val", "test"]
    assert "Training as train, valid as val, dev as val" in caplog.text
    assert " test as" not in caplog.text


def test_json_lines_hold_numbers_and_gaps(pictures: Path) -> None:
    table = pictures / "t.jsonl"
    table.write_text('{"path": "ant/00.png", "label": 1}\n\n{"path": "bee/00.png", "label": 2, "group": null}\n')
    assert [(s.label, s.group) for s in listed(table)] == [("1", None), ("2", None)]
    table.write_text('{"path": "ant/00.png", "label": 1}\n[2]\n')
    with pytest.raises(UserError, match="something else than an object"):
        listed(table)


def test_a_run_s_split_is_a_table_and_what_it_left_out_stays_out(
    pictures: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [
        "ant/00.png,a,train,1,",
        "bee/00.png,b,val,2,",
        "bee/01.png,b,,,an empty file",
        "cat/00.png,c,,3,data.limit",
    ]
    table = table_of(pictures, "\n".join(["path,class,split,digest,excluded", *rows]))
    assert [(s.name, s.label, s.split) for s in listed(table)] == [
        ("ant/00.png", "a", "train"), ("bee/00.png", "b", "val"),
    ]  # fmt: skip
    assert "samples that the run left out stay out: 2." in caplog.text
    own = table_of(pictures, "path,label,class,digest,excluded\nant/00.png,a,x,1,no\nbee/00.png,b,x,2,no\n")
    assert [s.label for s in listed(own)] == ["a", "b"], "a column label decides"
    with pytest.raises(UserError, match="no column 'label'; it has path, class"):
        listed(table_of(pictures, "path,class\nant/00.png,a\n"))


WORDS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=8).filter(
    lambda word: word.strip() == word and word[0] not in "'=+-@" and any(map(str.isalnum, word))
)
TABLES = st.fixed_dictionaries(
    {
        "labels": st.lists(WORDS, min_size=1, max_size=8),
        "more": st.lists(WORDS, max_size=2, unique=True),
        "order": st.randoms(use_true_random=False),
        "delimiter": st.sampled_from(",;\t"),
        "quoting": st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]),
        "lineterminator": st.sampled_from(["\n", "\r\n"]),
        "bom": st.booleans(),
        "blank": st.booleans(),
    }
)
MANY = {"deadline": None, "derandomize": True, "database": None}


def written(labels: list[str], more: list[str], order: Any, bom: bool, blank: bool, **dialect: Any) -> bytes:
    columns = {"path": [f"{number}.png" for number in range(len(labels))], "label": labels}
    columns |= {name: ["x, y; z"] * len(labels) for name in more if name not in ("path", "label", "split", "group")}
    names = order.sample(list(columns), len(columns))
    file = io.StringIO()
    writer = csv.writer(file, **dialect)
    writer.writerow(names)
    if blank:
        file.write(dialect["lineterminator"])
    writer.writerows(zip(*(columns[name] for name in names), strict=True))
    return file.getvalue().encode("utf-8-sig" if bom else "utf-8")


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture], **MANY)
@given(TABLES)
def test_whatever_writes_a_csv_its_labels_come_back(tmp_path: Path, how: dict[str, Any]) -> None:
    (tmp_path / "0.png").touch()
    found = list_table(table_of(tmp_path, written(**how)), None)
    assert [(Path(entry.path).name, entry.label) for entry in found.entries] == [
        (f"{number}.png", label) for number, label in enumerate(how["labels"])
    ]


CELLS = st.sampled_from(
    ["0.png", "1.png", "", " ", "a", "0", "0.0", "train", "valid", "https://a/b.png", "~/x", "a\\b"]
)
LINES = st.lists(st.lists(CELLS | WORDS, max_size=5), max_size=6)


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture], **MANY)
@given(
    st.lists(
        st.sampled_from(["path", "label", "split", "group", "class", "digest", "excluded", "", " path"]), max_size=5
    ),
    LINES,
    st.sampled_from([",", ";", "\t", "|"]),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "cp1252"]),
    st.binary(max_size=3),
)
def test_any_table_is_listed_or_refused(
    tmp_path: Path, header: list[str], lines: list[list[str]], mark: str, encoding: str, tail: bytes
) -> None:
    (tmp_path / "0.png").touch()
    text = "\n".join(mark.join(cells) for cells in (["path", "label", *header], *lines))
    table = table_of(tmp_path, text.encode(encoding, "replace") + tail)
    try:
        samples = listed(table)
    except UserError:
        return
    assert all(sample.label.strip() and sample.path.strip() for sample in samples)
    assert {s.split for s in samples} <= {"train", "val", "test"} or {s.split for s in samples} == {None}
