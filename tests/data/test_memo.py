"""The memo: makes the next look cheap, and is never trusted further than its file, nor needed."""

import os
import sqlite3
import stat
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from ft_lightning.data import memo
from ft_lightning.data.memo import Memo, digest_files, open_memo
from ft_lightning.readers import images
from ft_lightning.readers.sample import Inspection
from ft_lightning.system.errors import UserError
from ft_lightning.system.files import sha256

GOOD = Inspection(3, 4, "RGB", "", True)
BAD = Inspection(0, 0, "", "torn \udce9", True)


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    """Three files of last hour."""
    paths = [tmp_path / f"data/{i}.bin" for i in range(3)]
    paths[0].parent.mkdir()
    for path in paths:
        path.write_bytes(path.name.encode())
        age(path)
    return list(map(str, paths))


def age(path: Path, seconds: float = 3600) -> None:
    before = time.time_ns() - int(seconds * 10**9)
    os.utime(path, ns=(before, before))


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files whose bytes were read."""
    seen: list[str] = []

    def counted(path: str) -> str:
        seen.append(path)
        return sha256(path)

    monkeypatch.setattr(memo, "sha256", counted)
    return seen


def at(folder: Path, trust_stat: bool = True) -> Memo:
    return Memo(folder / "cache/memo.sqlite", trust_stat)


def test_a_known_file_is_not_read_again(files: list[str], tmp_path: Path, read: list[str]) -> None:
    first = digest_files(files, at(tmp_path))
    assert first == [(sha256(path), "") for path in files]
    assert sorted(read) == files
    read.clear()
    assert digest_files(files, at(tmp_path)) == first
    assert not read
    Path(files[0]).write_bytes(b"longer than before")
    age(Path(files[0]))
    Path(files[1]).write_bytes(b"9.bin")  # as long as before
    age(Path(files[1]), 1800)
    assert digest_files(files, at(tmp_path))[:2] == [(sha256(path), "") for path in files[:2]]
    assert sorted(read) == files[:2], "another size, another time"


@pytest.mark.promise(29)
def test_verify_content_reads_everything(files: list[str], tmp_path: Path, read: list[str]) -> None:
    digest_files(files, at(tmp_path))
    path = Path(files[0])
    before = path.stat()
    path.write_bytes(b"9.bin")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert digest_files(files, at(tmp_path, trust_stat=False)) == [(sha256(path), "") for path in files]
    assert set(read) == set(files)
    read.clear()
    assert digest_files(files, at(tmp_path)) == [(sha256(path), "") for path in files], "and it is remembered"
    assert not read


@pytest.mark.parametrize("seconds", [0, 1.5, -3600])
def test_a_file_that_may_change_unnoticed_is_read_again(
    seconds: float, files: list[str], tmp_path: Path, read: list[str]
) -> None:
    age(Path(files[0]), seconds)
    for _ in range(2):
        digest_files(files, at(tmp_path))
    assert read.count(files[0]) == 2
    assert read.count(files[1]) == 1


def test_a_file_that_changes_while_it_is_read_is_not_remembered(
    files: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(path: str) -> str:
        digest = sha256(path)
        Path(path).write_bytes(b"changed meanwhile")
        age(Path(path))
        return digest

    monkeypatch.setattr(memo, "sha256", slow)
    digest_files(files[:1], at(tmp_path))
    assert not at(tmp_path).digest_of(files)


def test_looks_are_remembered_by_content_and_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digests = [f"{i:064x}" for i in range(1200)]  # more than go into a query
    at(tmp_path).remember_inspections(
        dict.fromkeys(digests, GOOD) | {digests[0]: BAD, digests[1]: GOOD._replace(lasting=False)}
    )
    looks = at(tmp_path).inspections([*digests, "f" * 64])
    assert len(looks) == 1199
    assert looks[digests[0]].error.startswith("torn")
    assert looks[digests[2]] == GOOD
    assert digests[1] not in looks, "what may be otherwise the next time"
    monkeypatch.setattr(images.PIL, "__version__", "99.0")
    assert not at(tmp_path).inspections(digests), "a newer Pillow may read it"


def test_a_file_can_be_forgotten(files: list[str], tmp_path: Path, read: list[str]) -> None:
    digest_files(files, at(tmp_path))
    at(tmp_path).forget_files(files[:1])
    read.clear()
    digest_files(files, at(tmp_path))
    assert read == files[:1]


def test_nobody_else_can_look_into_it(files: list[str], tmp_path: Path) -> None:
    digest_files(files, at(tmp_path))
    assert stat.S_IMODE((tmp_path / "cache").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "cache/memo.sqlite").stat().st_mode) == 0o600


def garbage(path: Path) -> None:
    path.write_bytes(b"no database" * 1000)


def torn(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:100] + b"\xff" * 8000 + content[8100:])


def another_table(path: Path) -> None:
    path.unlink()
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("CREATE TABLE files (name)")
    database.close()


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def place_taken(path: Path) -> None:
    path.unlink()
    path.parent.rmdir()
    path.parent.write_text("a file where the folder should be")


@pytest.mark.parametrize("break_it", [garbage, torn, another_table, a_folder, place_taken])
def test_a_memo_that_cannot_be_used_costs_a_warning_and_nothing_else(
    break_it: Callable[[Path], None], files: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    expected = digest_files(files, at(tmp_path))
    break_it(tmp_path / "cache/memo.sqlite")
    broken = at(tmp_path)
    assert digest_files(files, broken) == expected
    broken.remember_inspections({"0" * 64: GOOD})
    assert broken.inspections(["0" * 64]) == {}
    broken.forget_files(files)
    (record,) = caplog.records
    assert str(tmp_path / "cache/memo.sqlite") in record.getMessage()
    assert "cache.dir=/a/folder" in record.getMessage()


def test_rows_that_are_no_digests_are_not_believed(files: list[str], tmp_path: Path, read: list[str]) -> None:
    expected = digest_files(files, at(tmp_path))
    with closing(sqlite3.connect(tmp_path / "cache/memo.sqlite")) as database, database:
        database.execute("UPDATE files SET digest = 'abc' WHERE path = ?", files[:1])
        database.execute("UPDATE files SET digest = x'00' WHERE path = ?", files[1:2])
    database.close()
    assert digest_files(files, at(tmp_path)) == expected


def test_a_locked_memo_is_waited_for_and_then_done_without(
    files: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    expected = digest_files(files, at(tmp_path))
    monkeypatch.setattr(memo, "_TIMEOUT", 0.2)
    holder = sqlite3.connect(tmp_path / "cache/memo.sqlite")
    holder.execute("BEGIN EXCLUSIVE")
    try:
        assert digest_files(files, at(tmp_path)) == expected
    finally:
        holder.close()
    assert "locked" in caplog.text


def fill(folder: Path, number: int) -> None:
    for i in range(20):
        Memo(folder / "memo.sqlite", True).remember_inspections({f"{number % 2:032x}{i:032x}": GOOD})


def test_processes_that_write_at_once_lose_nothing(tmp_path: Path) -> None:
    with ProcessPoolExecutor(4) as pool:
        list(pool.map(fill, [tmp_path] * 4, range(4)))
    digests = [f"{number:032x}{i:032x}" for number in range(2) for i in range(20)]
    assert len(Memo(tmp_path / "memo.sqlite", True).inspections(digests)) == 40


def test_where_it_is_and_when_there_is_none(tmp_path: Path) -> None:
    found = open_memo(True, str(tmp_path), "content")
    assert found is not None
    assert (found.path, found.trust_stat) == (tmp_path / "memo.sqlite", False)
    usual = open_memo(True, None, "stat")
    assert usual is not None
    assert usual.path.parts[-2:] == ("ft_lightning", "memo.sqlite")
    assert open_memo(False, str(tmp_path), "stat") is None
    with pytest.raises(UserError, match=r"cache\.verify=always is unknown: use one of stat, content"):
        open_memo(True, None, "always")


@pytest.mark.parametrize(
    "change", ["width = 'x'", "height = NULL", "error = x'07'", "error = NULL", "digest = x'00'", "digest = 'abc'"]
)
def test_a_row_of_another_kind_is_no_verdict(change: str, tmp_path: Path) -> None:
    digests = ["0" * 64, "1" * 64]
    at(tmp_path).remember_inspections(dict.fromkeys(digests, GOOD))
    with closing(sqlite3.connect(tmp_path / "cache/memo.sqlite")) as database, database:
        database.execute(f"UPDATE pictures SET {change} WHERE digest = ?", [bytes(32)])
    database.close()
    assert at(tmp_path).inspections([*digests, "00"]) == {digests[1]: GOOD}
