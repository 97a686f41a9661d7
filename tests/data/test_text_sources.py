"""Texts of tables and folders: what is listed, what cannot be used, and why."""

import hashlib
import json
from pathlib import Path

import pandas as pd
import pytest

from ft_lightning.data.exclude import drop_excluded
from ft_lightning.data.kinds import TEXTS
from ft_lightning.data.labels import Labels, OnProblem
from ft_lightning.data.scan import Entry, Listing, digest_of, scan
from ft_lightning.data.text_sources import find_texts, reading
from ft_lightning.readers.sample import Sample
from ft_lightning.system.errors import UserError
from ft_lightning.tasks.multiclass import MultiClass


def listed(root: Path | None, table: Path | None, **columns: object) -> dict[str, Sample]:
    def find(root, table, on_problem):  # type: ignore[no-untyped-def]
        return reading(find_texts)(root, table, on_problem, **columns)  # type: ignore[arg-type]

    given = [None if place is None else str(place) for place in (root, table)]
    return {sample.name: sample for sample in scan(find, *given, Labels(), kind="text")}


def written(folder: Path, content: str | bytes, name: str = "t.csv") -> Path:
    table = folder / name
    table.write_bytes(content if isinstance(content, bytes) else content.encode())
    return table


def test_a_row_is_a_sample_whose_identity_is_its_text(tmp_path: Path) -> None:
    samples = listed(None, written(tmp_path, "label,text\na,one\nb,two\na,one\n"))
    assert list(samples) == ["t.csv#2", "t.csv#3", "t.csv#4"], "rows as a spreadsheet counts them"
    assert [sample.content for sample in samples.values()] == ["one", "two", "one"]
    assert samples["t.csv#2"].digest == samples["t.csv#4"].digest == hashlib.sha256(b"one").hexdigest()
    assert {sample.kind for sample in samples.values()} == {"text"}


@pytest.mark.parametrize(
    ("content", "texts"),
    [
        ('text;label\n"a;b";x\nc;y\n', ["a;b", "c"]),  # a spreadsheet's semicolons
        ('text,label\n"two\nlines",x\n"say ""hi""",y\n', ["two\nlines", 'say "hi"']),
        ("\ufefftext\tlabel\nö 😀\tx\n'=1+1\ty\n", ["ö 😀", "'=1+1"]),  # an apostrophe of the user's own stays
        ("text,label\n  padded ,x\nNA,y\n", ["  padded ", "NA"]),
        ("text,label\n007,x\n1.50,y\n", ["007", "1.50"]),
        # Tabs and quotes that are letters: each line is a row only so.
        ('label\ttext\nx\t"Oh no\ny\twin\nx\t"Yes\ny\t"so" said\n', ['"Oh no', "win", '"Yes', '"so" said']),
        ('label\ttext\nx\t"two\nlines"\ny\t"say ""hi"""\n', ["two\nlines", 'say "hi"']),  # quotes that enclose
        ('"my\ntext";text;label\n1;a,b,c;x\n', ["a,b,c"]),  # a name with a line break
    ],
)
def test_a_cell_is_read_to_the_letter(content: str, texts: list[str], tmp_path: Path) -> None:
    assert [sample.content for sample in listed(None, written(tmp_path, content)).values()] == texts


def test_lines_of_json_and_parquet_are_tables_too(tmp_path: Path) -> None:
    rows = [{"text": "öne", "label": 1}, {"text": "two", "label": 2, "split": None}]
    lines = written(tmp_path, "\n".join(json.dumps(row) for row in rows) + "\n\n", "t.jsonl")
    samples = listed(None, lines)
    assert [(s.content, s.label, s.split) for s in samples.values()] == [("öne", "1", None), ("two", "2", None)]
    pytest.importorskip("pyarrow")
    pd.DataFrame(rows).to_parquet(tmp_path / "t.parquet")
    assert [s.content for s in listed(None, tmp_path / "t.parquet").values()] == ["öne", "two"]


def test_names_of_columns_and_groups_lose_blanks_at_their_ends(tmp_path: Path) -> None:
    samples = listed(None, written(tmp_path, '{" text": "a", "label ": "x", "group": " g "}\n', "t.ndjson"))
    assert [(s.content, s.label, s.group) for s in samples.values()] == [("a", "x", "g")]
    samples = listed(None, written(tmp_path, "text,label,group\na,x, \nb,y,\u00a0\nc,x,g\nd,y,g \n"))
    assert [sample.group for sample in samples.values()] == [None, None, "g", "g"]


def test_a_column_of_a_split_by_another_case_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    samples = listed(None, written(tmp_path, "text,label,Split,GROUP,more\na,x,train,1,z\nb,y,test,2,z\n"))
    assert {(sample.split, sample.group) for sample in samples.values()} == {(None, None)}
    said = " ".join(caplog.messages)
    assert "the column Split is not read: rename it to split" in said
    assert "the column GROUP is not read" in said
    assert "more" not in said
    caplog.clear()
    listed(None, written(tmp_path, "text,label,split,Split\na,x,train,test\n"))
    assert not caplog.messages


def test_rows_that_have_moved_since_a_check_are_not_left_out(tmp_path: Path) -> None:
    issues = written(tmp_path, "path,kind,score,label,suggestion\nt.csv#3,label,1.0,y,x\n", "issues.csv")
    rows = ["a,x", "b,y", "c,x", "d,y", "e,x"]

    def left_out(table: Path) -> list[object]:
        table.write_text("\n".join(["text,label", *rows]) + "\n")
        samples = list(listed(None, table).values())
        splits = {"train": samples, "val": samples[:1], "test": samples[:1]}
        return [sample.content for sample in drop_excluded(splits, str(issues), MultiClass(["x", "y"], []))[1]]

    assert left_out(tmp_path / "t.csv") == ["b"]
    del rows[0]
    with pytest.raises(UserError, match=r"1 row has another label now: t\.csv#3\. The table has changed since"):
        left_out(tmp_path / "t.csv")
    issues.write_text("path\nt.csv#3\n")
    assert left_out(tmp_path / "t.csv") == ["c"], "a list of one's own says no labels"


def test_pairs_and_columns_of_other_names(tmp_path: Path) -> None:
    table = written(tmp_path, "q,a,kind,who\nis it?,yes,x,1\nis it?,no,y,1\n")
    samples = listed(None, table, text=["q", "a"], label="kind")
    assert [s.content for s in samples.values()] == [("is it?", "yes"), ("is it?", "no")]
    assert len({s.digest for s in samples.values()}) == 2
    assert digest_of(("ab", "c")) != digest_of(("a", "bc"))


@pytest.mark.promise(44)
@pytest.mark.parametrize(
    ("cell", "problem"),
    [
        ("", "empty"),
        ('"  "', "white space"),
        ("\u200b", "white space and control"),
        ("\x01\x02", "control"),
        ('" \n\t"', "white space"),
    ],
)
def test_a_text_without_anything_to_read_is_named(cell: str, problem: str, tmp_path: Path) -> None:
    samples = listed(None, written(tmp_path, f"text,label\n{cell},x\nfine,y\n"))
    assert problem in samples["t.csv#2"].problem
    assert samples["t.csv#3"].problem == ""


def test_half_a_character_is_a_problem_and_no_crash(tmp_path: Path) -> None:
    samples = listed(None, written(tmp_path, '{"text": "a \\ud83d b", "label": "x"}\n', "t.jsonl"))
    assert "half a character" in samples["t.jsonl#2"].problem


@pytest.mark.parametrize(
    ("name", "content", "columns", "said"),
    [
        ("t.csv", "txt,label\na,x\n", {}, "no column 'text'; it has txt, label. data.text names another."),
        ("t.csv", "text,class\na,x\n", {}, "no column 'label'; it has text, class."),
        ("t.csv", "text,label\n", {}, "has no rows"),
        ("t.csv", "text,label\na,x\n", {"text": ["a", "b", "c"]}, "name one column, or the two of a pair"),
        ("t.csv", "text,label\na,x\n", {"text": ["text", "text"]}, "data.text=[text,text]: a pair has two columns"),
        ("t.csv", "text,class\na,x\n", {"label": "kind"}, "no column 'kind'; it has text, class. data.label names"),
        ("t.csv", b"text,label\ncaf\xe9,x\n", {}, "is not UTF-8"),
        ("t.jsonl", '{"text": "a", "label": "x"}\n{"text": \n', {}, "line 2 is not JSON"),
        ("t.jsonl", '{"text": "a", "label": "x"}\n[1]\n', {}, "line 2 holds something else"),
        ("t.jsonl", '{"text": "a"}\n\n{"text": \n', {}, "line 3 is not JSON: Expecting value (character 9)"),
        ("t.jsonl", "[1]\n[2]\n", {}, "line 1 holds something else"),
        ("t.json", '[{"text": "a", "label": "x"}, 2]', {}, "entry 2 holds something else"),
        ("t.jsonl", "\n", {}, "has no rows"),
        ("t.json", "[]", {}, "has no rows"),
        ("t.csv", "", {}, "is not a table: it is empty"),
        ("t.xlsx", b"PK", {}, "is no table that is read here: save it as CSV UTF-8 (.csv)"),
        ("t.csv.gz", b"\x1f\x8b", {}, "is no table that is read here: unpack it."),
        ("t.csv", 'text,label\na,x\n"b" c,y\n', {}, "row 3: a cell goes on after its closing quote; within quotes"),
        ("t.csv", 'text,label\n\na,x\n\n"b" c,y\n', {}, "row 5: a cell goes on after its closing quote"),
        ("t.csv", 'text,label\n"say \\"no\\"",y\n', {}, "row 2: a cell goes on after its closing quote"),
        ("t.csv", 'text,label\n"a,x\nb,y\n', {}, "row 2: a quote is opened and never closed"),
        ("t.tsv", 'text\tlabel\n"a\tx\nb\tc\ty\n', {}, "row 2: a quote is opened and never closed"),
        ("t.csv", "text,label\na,x\nb,c,y\n", {}, "more cells than the header (Expected 2 fields in line 3, saw 3)"),
        ("t.csv", '"te\nxt",label,label\na,x,y\n', {}, "two columns are called 'label'"),
        ("t.jsonl", '{"text": "a", "label": "x", "label": "y"}', {}, "line 1: an object has the key 'label' twice"),
        ("t.json", '[{"text": "a", "text": "b"}]', {}, "an object has the key 'text' twice"),
        ("t.jsonl", '{"text": "a", " text": "b"}', {}, "two columns are called 'text'"),
        ("t.json", '{"text": {"0": "a"}, "label": {"0": "x"}}', {}, "it is one object of columns: write a list"),
        ("t.csv", "text,label\na,x\n", {"text": "label"}, "data.text and data.label both name 'label'"),
        ("t.csv", "text,label\na,x\n", {"label": ["text"]}, "data.text and data.label both name 'text'"),
        ("t.csv", "text,label,split\na,x,train\nb,y,\n", {}, "some rows have a split and some have none"),
    ],
)
def test_a_table_that_cannot_be_read_is_named_with_its_fault(
    name: str, content: str | bytes, columns: dict[str, object], said: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError) as refused:
        listed(None, written(tmp_path, content, name), **columns)
    assert said in str(refused.value)
    assert name in str(refused.value) or "data.text" in str(refused.value)


def test_files_of_class_folders_are_decoded_or_named(tmp_path: Path) -> None:
    for name, content in {
        "ham/a.txt": "plain ö".encode(),
        "ham/b.txt": "with a mark".encode("utf-16"),
        "spam/c.txt": "\ufeffmarked".encode(),
        "spam/d.txt": "café au lait".encode("latin-1"),
        "spam/e.txt": b"",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    samples = listed(tmp_path, None)
    contents = {name: sample.content for name, sample in samples.items() if not sample.problem}
    assert contents == {"ham/a.txt": "plain ö", "ham/b.txt": "with a mark", "spam/c.txt": "marked"}
    assert samples["ham/b.txt"].digest == hashlib.sha256(b"with a mark").hexdigest(), "of the text, not of the file"
    assert "Latin-1" in samples["spam/d.txt"].problem
    assert "UTF-8" in samples["spam/d.txt"].problem
    assert "empty" in samples["spam/e.txt"].problem


@pytest.mark.parametrize(
    ("given", "columns", "said"),
    [
        ({"root": None, "table": None}, {}, "data.table is not set"),
        ({"root": "/a", "table": "/b.csv"}, {}, "give one"),
        ({"root": "/a", "table": None}, {"text": "body"}, "data.text=body names columns of a table"),
    ],
)
def test_what_is_given_must_be_one_thing(given: dict[str, str | None], columns: dict[str, str], said: str) -> None:
    with pytest.raises(UserError) as refused:
        find_texts(given["root"], given["table"], print, **columns)  # type: ignore[arg-type]
    assert said in str(refused.value)


def test_a_list_in_json_is_no_text(tmp_path: Path) -> None:
    rows = [{"text": ["a"], "label": "x"}, {"text": None, "label": "x"}, {"text": 7, "label": "y"}]
    samples = listed(None, written(tmp_path, "\n".join(map(json.dumps, rows)), "t.jsonl"))
    assert [s.problem for s in samples.values()] == ["a list, not a text (line 1)", "it is empty (line 2)", ""]
    assert samples["t.jsonl#4"].content == "7"


@pytest.mark.promise(44)
@pytest.mark.parametrize("strange", [["a", "b"], [], b"bytes"])
def test_cells_of_parquet_that_hold_no_text_are_told(strange: object, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    pd.DataFrame({"text": [strange, strange], "label": ["x", "y"]}).to_parquet(tmp_path / "t.parquet")
    samples = listed(None, tmp_path / "t.parquet")
    assert all(sample.problem.endswith(", not a text") for sample in samples.values())


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
@pytest.mark.parametrize("label", [["x", "y"], [], ["x"]])
def test_a_list_as_a_label_is_no_class_of_that_name(label: list[str], kind: str, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    path, table = tmp_path / f"t.{kind}", pd.DataFrame({"text": ["a", "b"], "label": [["x"], label]})
    table.to_json(path, orient="records", lines=True) if kind == "jsonl" else table.to_parquet(path)
    with pytest.raises(UserError, match=r"the label of (line 1|row 2) is a list, not a text: .*data\.label_sep"):
        listed(None, path)


@pytest.mark.parametrize("kind", ["jsonl", "json", "parquet"])
@pytest.mark.parametrize(
    ("labels", "read"),
    [([0, 1], ["0", "1"]), ([0, None], ["0", None]), ([True, None], ["True", None]), (["x", None], ["x", None])],
)
def test_labels_stay_as_they_are_beside_missing_ones(
    labels: list[object], read: list[str | None], kind: str, tmp_path: Path
) -> None:
    pytest.importorskip("pyarrow")
    rows = [{"text": text, "label": label} for text, label in zip("ab", labels, strict=True)]
    path = tmp_path / f"t.{kind}"
    if kind == "parquet":
        pd.DataFrame(rows).convert_dtypes().to_parquet(path)
    else:
        path.write_text(json.dumps(rows) if kind == "json" else "\n".join(map(json.dumps, rows)))
    entries = find_texts(None, str(path), print).entries
    assert [entry.label or None for entry in entries] == read
    assert [entry.content for entry in entries] == ["a", "b"]


def test_an_index_of_parquet_is_a_column(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    table = pd.DataFrame({"label": [3, 4], "text": ["a", "b"]}).set_index("label")
    table.to_parquet(tmp_path / "t.parquet")
    entries = find_texts(None, str(tmp_path / "t.parquet"), print).entries
    assert [entry.label for entry in entries] == ["3", "4"]


def test_a_source_of_one_s_own_may_list_files(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("a text")

    def find_notes(root: str | None, csv: str | None, on_problem: OnProblem) -> Listing:
        return Listing([Entry("a.md", "x"), Entry("b.md", "y"), Entry("c", "y", content="read already")], tmp_path)

    samples = {sample.name: sample for sample in scan(TEXTS.source(find_notes, {}), None, None, Labels(), kind="text")}
    assert samples["a.md"].content == "a text"
    assert samples["b.md"].problem == "no such file"
    assert samples["c"].content == "read already"
    with pytest.raises(UserError, match=r"data\.find=find_notes has no parameter text"):
        TEXTS.source(find_notes, {"text": "body"})
