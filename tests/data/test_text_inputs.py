"""What a model of texts is to answer: typed, lines of standard input, rows of a table, whole files."""

import io
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from ft_lightning.data.conversation_inputs import find_questions
from ft_lightning.data.text_inputs import find_texts, typed_texts
from ft_lightning.readers.sample import Sample
from ft_lightning.readers.text import TextReader
from ft_lightning.system.errors import UserError
from ft_lightning.system.tables import write_table
from texts import tokenizer


def contents(samples: list[Sample]) -> list[tuple[str, object]]:
    assert {sample.kind for sample in samples} <= {"text"}
    return [(sample.path.rpartition("/")[2], sample.content) for sample in samples]


def test_typed_texts_are_numbered() -> None:
    assert contents(typed_texts("a text")) == [("text 1", "a text")]
    assert contents(typed_texts(["a", "b"])) == [("text 1", "a"), ("text 2", "b")]


def test_lines_of_standard_input_but_for_empty_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    for encoding in ("utf-8", "utf-16"):
        typed("one\n\n two \r\nthré\u2028e".encode(encoding), monkeypatch)
        assert contents(find_texts("-", None)) == [("-#1", "one"), ("-#3", " two "), ("-#4", "thré\u2028e")]


@pytest.mark.parametrize("find", [find_texts, find_questions])
def test_standard_input_without_a_line_is_refused(
    find: Callable[[str, None], list[Sample]], monkeypatch: pytest.MonkeyPatch
) -> None:
    typed(b" \n\n", monkeypatch)
    with pytest.raises(UserError, match=r"^input=-: standard input has nothing to answer"):
        find("-", None)


@pytest.mark.promise(44)
@pytest.mark.parametrize(("content", "said"), [(b"one\ncaf\xe9", "(line 2) is not UTF-8"), (b"a\0b", "byte 0x00")])
def test_standard_input_that_is_no_text(content: bytes, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    typed(content, monkeypatch)
    with pytest.raises(UserError, match=r"^input=-: byte 0x") as refused:
        find_texts("-", None)
    assert said in str(refused.value)


def typed(content: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content), encoding="utf-8"))


@pytest.mark.promise(44)
@pytest.mark.parametrize("columns", [None, ["text", "more"]])
@pytest.mark.parametrize(
    ("kind", "strange"),
    [("jsonl", ["a", "b"]), ("jsonl", {"a": "b"}), ("parquet", ["a", "b"]), ("parquet", b"bytes"), ("parquet", [])],
)
def test_cells_that_hold_no_text_are_told(
    columns: list[str] | None, kind: str, strange: object, tmp_path: Path
) -> None:
    pytest.importorskip("pyarrow")
    table = pd.DataFrame({"text": [strange, None], "more": ["x", "y"]})
    path = tmp_path / f"t.{kind}"
    table.to_json(path, orient="records", lines=True) if kind == "jsonl" else table.to_parquet(path)
    first, second = find_texts(str(path), columns)
    reader = TextReader(tokenizer(), 32)
    assert reader.inspect(first)[1].error.endswith(", not a text")
    assert (reader.inspect(second)[1].error == "it is empty") == (columns is None)


def test_rows_of_a_table(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("id;text;more\n1;a;x\n2;;y\n3;'=c;z\n")
    table = str(tmp_path / "t.csv")
    assert contents(find_texts(table, None)) == [("t.csv#2", "a"), ("t.csv#3", ""), ("t.csv#4", "'=c")]
    assert contents(find_texts(table, ["more"]))[0] == ("t.csv#2", "x")
    assert contents(find_texts(table, ["text", "more"]))[0] == ("t.csv#2", ("a", "x"))
    (tmp_path / "one.csv").write_text("\nbody\nonly this\n\nand that\n\n \n")
    rows = contents(find_texts(str(tmp_path / "one.csv"), None))
    assert rows == [("one.csv#3", "only this"), ("one.csv#4", ""), ("one.csv#5", "and that")], "a blank line is a row"
    (tmp_path / "one.csv").write_text('body\n"a\n\n"\n""\n')
    assert contents(find_texts(str(tmp_path / "one.csv"), None)) == [("one.csv#2", "a\n\n"), ("one.csv#3", "")]
    (tmp_path / "t.ndjson").write_text('{"text": "a"}\n')
    assert contents(find_texts(str(tmp_path / "t.ndjson"), None)) == [("t.ndjson#2", "a")]
    (tmp_path / "t.jsonl").write_text('{"text": "a"}\n{"text": null}\n')
    assert contents(find_texts(str(tmp_path / "t.jsonl"), None)) == [("t.jsonl#2", "a"), ("t.jsonl#3", "")]


def test_the_texts_of_predictions_come_back_as_they_were(tmp_path: Path) -> None:
    texts = ["@you", "-5", "'=kept", "plain"]
    table = pd.DataFrame({"path": "x.csv#2", "text": texts, "predicted": "a", "error": ""})
    for columns, read in ((["path", "text", "predicted", "error"], texts), (["text"], ["'@you", "'-5", "''=kept"])):
        write_table(table[columns], tmp_path / "p.csv")
        assert [content for _, content in contents(find_texts(str(tmp_path / "p.csv"), ["text"]))][: len(read)] == read


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
        (["a", "a"], "name one column, or the two of a pair"),
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
