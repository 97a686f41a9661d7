"""Tables come back as they were written and run nothing in a spreadsheet."""

import json
from pathlib import Path

import pandas as pd
import pytest

from ft_lightning.system.errors import UserError
from ft_lightning.system.tables import place_of, read_table, row_numbers, write_table

NASTY = [
    "=cmd()",
    "+1",
    "-x.png",
    "@a",
    "\tb",
    "'=quoted",
    "ünïcode",
    'a,"b"\nc',
    "plain",
    "'kept",
    "NA",
    "007",
    "a\u2028b\x85c",
]


def test_csv_gives_back_every_text_and_no_cell_is_a_formula(tmp_path: Path) -> None:
    table = pd.DataFrame({"path": NASTY, "=evil()": NASTY})
    write_table(table, tmp_path / "t.csv")
    raw = pd.read_csv(tmp_path / "t.csv", dtype=str, keep_default_na=False)
    assert not any(str(cell).startswith(("=", "+", "-", "@", "\t", "\r")) for cell in [*raw.columns, *raw["path"]])
    pd.testing.assert_frame_equal(read_table(tmp_path / "t.csv"), table, check_dtype=False)


def test_numbers_keep_their_precision_and_sign(tmp_path: Path) -> None:
    write_table(pd.DataFrame({"p": [-1 / 3, 1e-17, 0.1 + 0.2]}), tmp_path / "t.csv")
    assert [float(value) for value in read_table(tmp_path / "t.csv")["p"]] == [-1 / 3, 1e-17, 0.1 + 0.2]


def test_json_lines(tmp_path: Path) -> None:
    write_table(pd.DataFrame({"path": NASTY, "p": range(len(NASTY))}), tmp_path / "t.jsonl")
    assert read_table(tmp_path / "t.jsonl")["path"].tolist() == NASTY


def test_json_lines_keep_numbers_to_the_last_bit_and_have_null_for_nothing(tmp_path: Path) -> None:
    numbers = [0.1 + 0.2, 1 / 3, 1e-17, -0.0, 123456789.123456789]
    write_table(pd.DataFrame({"p": [*numbers, None], "path": "a/b.png"}), tmp_path / "t.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "t.jsonl").read_text().splitlines()]
    assert [row["p"] for row in rows] == [*numbers, None]
    assert read_table(tmp_path / "t.jsonl")["p"].tolist()[:-1] == numbers


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_a_file_name_that_is_no_text_is_written_all_the_same(tmp_path: Path, kind: str) -> None:
    name = b"caf\xe9.png".decode("utf-8", "surrogateescape")
    write_table(pd.DataFrame({"path": [name]}), tmp_path / f"t.{kind}")
    assert "caf\\udce9.png" in (tmp_path / f"t.{kind}").read_text(encoding="utf-8")


def test_a_write_that_fails_leaves_the_last_table_and_nothing_else(tmp_path: Path) -> None:
    write_table(pd.DataFrame({"a": [1]}), tmp_path / "t.jsonl")
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_table(pd.DataFrame({"a": [1.0, float("inf")]}), tmp_path / "t.jsonl")
    assert read_table(tmp_path / "t.jsonl")["a"].tolist() == [1]
    assert [path.name for path in tmp_path.iterdir()] == ["t.jsonl"]


@pytest.mark.parametrize("mark", [",", ";", "\t"])
def test_what_a_spreadsheet_has_saved_again_is_read(mark: str, tmp_path: Path) -> None:
    text = f'path{mark}kind\r\n"\'=a;b,c.png"{mark}label\r\n'
    (tmp_path / "t.csv").write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert read_table(tmp_path / "t.csv").to_dict("list") == {"path": ["=a;b,c.png"], "kind": ["label"]}


@pytest.mark.parametrize("encoding", ["cp1252", "utf-16"])
def test_another_encoding_is_named_with_its_cure(encoding: str, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("path,label\né.png,x\n", encoding=encoding)
    with pytest.raises(UserError, match=r"t\.csv is not UTF-8 .*: save it as CSV UTF-8"):
        read_table(tmp_path / "t.csv")


def test_a_cell_may_be_as_long_as_it_is(tmp_path: Path) -> None:
    long = 'x "y"\n' * 50_000
    write_table(pd.DataFrame({"a": [long], "b": [1]}), tmp_path / "t.csv")
    assert read_table(tmp_path / "t.csv")["a"].tolist() == [long]


def test_another_suffix_or_a_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"t\.xlsx"):
        write_table(pd.DataFrame(), tmp_path / "t.xlsx")
    with pytest.raises(UserError, match="no such file"):
        read_table(tmp_path / "none.csv")


def test_nothing_is_left_beside_the_table(tmp_path: Path) -> None:
    write_table(pd.DataFrame({"a": [1]}), tmp_path / "t.csv")
    assert [path.name for path in tmp_path.iterdir()] == ["t.csv"]


@pytest.mark.parametrize(
    ("content", "numbers"),
    [
        ("text,label\na,1\nb,2\n", [2, 3]),
        ("text,label\na,1\n\nb,2\n \n\nc,3\n\n", [2, 4, 7]),
        ("\n\ntext,label\na,1\n\nb,2\n", [4, 6]),
        ('text,label\n"a\n\nmore",1\n\nb,2\n', [2, 4]),  # a cell of several lines is in one row
        ("text;label\na;1\n;\n\nb;2\n", [2, 3, 5]),
        ('text\tlabel\n"a\t1\n\nb\t2\n', [2, 4]),  # its quotes are letters
        ("\ntext\na\n\nb\n", [3, 4, 5]),  # of a single column a blank line is an empty cell
        ("text,label\n\n" + "a" * 200_000 + ",1\n", [3]),
        ("text,label\n\n", []),
    ],
)
def test_rows_have_the_numbers_that_a_spreadsheet_shows(content: str, numbers: list[int], tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(content)
    table = read_table(tmp_path / "t.csv")
    assert list(row_numbers(table)) == numbers
    assert [place_of(table, at) for at in range(len(table))] == [f"row {number}" for number in numbers]
