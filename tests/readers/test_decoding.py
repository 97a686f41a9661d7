"""From bytes to text: what is read, and what is refused, with the byte, the place and the fix."""

import os
from pathlib import Path

import pytest

from ft_lightning.readers.decoding import ChangedError, UnusableTextError, decoded, problem_of, read_file

GREEK = "Ωmega and café, 中文, 🙂"


@pytest.mark.parametrize(
    ("encoding", "mark"),
    [
        ("utf-8", b""),
        ("utf-8", b"\xef\xbb\xbf"),
        ("utf-16-le", b"\xff\xfe"),
        ("utf-16-be", b"\xfe\xff"),
        ("utf-32-le", b"\xff\xfe\x00\x00"),
        ("utf-32-be", b"\x00\x00\xfe\xff"),
    ],
)
def test_unicode_is_read_whatever_mark_it_has(encoding: str, mark: bytes) -> None:
    assert decoded(mark + GREEK.encode(encoding)) == GREEK
    assert decoded(mark) == ""


@pytest.mark.promise(44)
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("naïve\nand a café".encode("latin-1"), r"byte 0xef at position 2 \(line 1\) is not UTF-8.*Latin-1"),
        (
            "plain\nand “quoted”".encode("cp1252"),
            r"byte 0x93 at position 10 \(line 2\).*Windows-1252; save it as UTF-8",
        ),
        ("plain €".encode("cp1252"), r"byte 0x80 at position 6.*Windows-1252"),
        ("这是一个中文句子".encode("gb18030"), r"another script, such as GB18030.*save it as UTF-8"),
        ("Привет, мир".encode("cp1251"), r"another script.*Windows-1251"),
        ("こんにちは".encode("shift-jis"), r"another script.*Shift-JIS"),
        ("without a mark".encode("utf-16-le"), r"byte 0x00 at position 1: it looks like UTF-16 without its mark"),
        ("without a mark, é".encode("utf-16-be"), r"position 0: it looks like UTF-16 without its mark"),
        (b"a text\0 that is none", r"byte 0x00 at position 6: it looks like a binary file"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes(range(256)), r"it looks like a binary file"),
        (b"\xff\xfeo\0d", r"begins with the mark of UTF-16, but byte 4 does not fit; save it as UTF-8"),
        (b"\xff\xfe\0\0o\0\0\0d", r"mark of UTF-32, but byte 8"),
        (b"cut off \xf0\x9f\x99", r"byte 0xf0 at position 8"),
    ],
)
def test_other_bytes_are_refused_with_place_and_fix(content: bytes, reason: str) -> None:
    with pytest.raises(UnusableTextError, match=reason):
        decoded(content)


@pytest.mark.promise(44)
@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "it is empty"),
        (" \n\t\u00a0\u3000", "it holds only white space"),
        ("\u200b\ufeff", "it holds only white space and control characters"),
        ("\x07 \x1b", "it holds only white space and control characters"),
        ("half \ud83d", "it holds half a character of UTF-16"),
        ("ok", ""),
        (" 中 ", ""),
        ("🙂", ""),
        ("e\u0301", ""),
        ("\u0627", ""),
    ],
)
def test_a_text_with_nothing_to_read_is_named(text: str, reason: str) -> None:
    assert problem_of(text) == reason


@pytest.mark.promise(40)
def test_what_is_no_file_is_refused_and_never_blocks(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.txt")
    for name, reason in (("", "a folder, not a file"), ("pipe.txt", "not a file"), ("none.txt", "no such file")):
        with pytest.raises(ChangedError, match=reason):
            read_file(str(tmp_path / name))
