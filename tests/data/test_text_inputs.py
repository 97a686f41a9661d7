"""What a model of texts is to answer: typed, lines of standard input, rows of a table, whole files."""

import io
from pathlib import Path

import pytest

from ft_lightning.data.text_inputs import find_texts, typed_texts
from ft_lightning.readers.sample import Sample
from ft_lightning.system.errors import UserError


def contents(samples: list[Sample]) -> list[tuple[str, object]]:
    assert {sample.kind for sample in samples} <= {"text"}
    return [(sample.path.rpartition("/")[2], sample.content) for sample in samples]


def test_typed_texts_are_numbered() -> None:
    assert contents(typed_texts("a text")) == [("text 1", "a text")]
    assert contents(typed_texts(["a", "b"])) == [("text 1", "a"), ("text 2", "b")]


def test_lines_of_standard_input_but_for_empty_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("one\n\n two \r\nthree"))
    assert contents(find_texts("-", None)) == [("-#1", "one"), ("-#3", " two "), ("-#4", "three")]


def test_rows_of_a_table(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("id;text;more\n1;a;x\n2;;y\n3;'=c;z\n")
    table = str(tmp_path / "t.csv")
    assert contents(find_texts(table, None)) == [("t.csv#2", "a"), ("t.csv#3", ""), ("t.csv#4", "'=c")]
    assert contents(find_texts(table, ["more"]))[0] == ("t.csv#2", "x")
    assert contents(find_texts(table, ["text", "more"]))[0] == ("t.csv#2", ("a", "x"))
    (tmp_path / "one.csv").write_text("body\nonly this\n")
    assert contents(find_texts(str(tmp_path / "one.csv"), None)) == [("one.csv#2", "only this")]
    (tmp_path / "t.jsonl").write_text('{"text": "a"}\n{"text": null}\n')
    assert contents(find_texts(str(tmp_path / "t.jsonl"), None)) == [("t.jsonl#2", "a"), ("t.jsonl#3", "")]


def test_files_are_read_whole_and_later(tmp_path: Path) -> None:
    for name in ("b.txt", "a.txt", "c.pdf"):
        (tmp_path / name).write_text(name)
    assert contents(find_texts(str(tmp_path), None)) == [("a.txt", None), ("b.txt", None)]


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        (None, "no column 'text'; it has a, b. column names another."),
        (["x"], "no column 'x'"),
        (["a", "b", "a"], "name one column, or the two of a pair"),
    ],
)
def test_a_column_that_there_is_not(columns: list[str] | None, said: str, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UserError) as refused:
        find_texts(str(tmp_path / "t.csv"), columns)
    assert said in str(refused.value)


def test_nothing_to_read(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="names no text: give a file, a folder, or a glob"):
        find_texts(str(tmp_path), None)
