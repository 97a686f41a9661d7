"""Demo data of a language model: dates that have one reading, and commands of a package."""

import datetime
import json
import re
import tarfile
from collections import Counter
from io import BytesIO
from pathlib import Path

import pytest

from ft_lightning.data import commands, dates, packages
from ft_lightning.data.conversation_sources import find_conversations
from ft_lightning.data.scan import refuse
from ft_lightning.system.errors import UserError


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for module in (commands, dates, packages):
        monkeypatch.setattr(module, "user_cache_path", lambda name: tmp_path)
    return tmp_path


def rows_of(table: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in table.read_text(encoding="utf-8").splitlines()]


def test_dates_are_written_once_and_are_the_same_everywhere(cache: Path) -> None:
    table = dates.write_dates()
    rows = rows_of(table)
    assert len(rows) == len({row["prompt"] for row in rows}) == dates.COUNT
    assert rows[:2] == dates.date_rows(2)
    assert rows[0] == {"prompt": "Write as ISO 8601: Friday, January 31, 1913", "completion": "1913-01-31"}
    table.write_text("{}")
    assert dates.write_dates().read_text() == "{}"
    assert [path.name for path in cache.iterdir()] == ["dates-1.jsonl"]


def test_every_date_is_one_and_its_prompt_has_its_year_and_day() -> None:
    ways = Counter()
    for row in dates.date_rows(dates.COUNT):
        date = datetime.date.fromisoformat(row["completion"])
        spelled = row["prompt"].removeprefix("Write as ISO 8601: ")
        assert str(date.year) in spelled
        assert str(date.day) in spelled or dates._WORDS[date.day - 1] in spelled
        ways[re.sub(r"\w+", "x", spelled)] += 1
    assert len(ways) > 20


def test_no_date_has_a_second_reading() -> None:
    for row in dates.date_rows(dates.COUNT):
        spelled = row["prompt"].removeprefix("Write as ISO 8601: ")
        if match := re.fullmatch(r"(\d\d?)[./-](\d\d?)[./-](\d{4})", spelled):
            assert max(int(match[1]), int(match[2])) > 12, spelled


@pytest.mark.parametrize("language", dates._LANGUAGES)
def test_the_names_of_a_language_are_all_there(language: str) -> None:
    months, weekdays, spellings = dates._LANGUAGES[language]
    assert (len(set(months.split())), len(set(weekdays.split()))) == (12, 7)
    assert all("{y}" in spelling and re.search(r"\{(d|nth|word)", spelling) for spelling in spellings)


def test_days_in_words_and_with_endings() -> None:
    assert [dates._WORDS[day - 1] for day in (1, 12, 20, 21, 29, 30, 31)] == [
        "first", "twelfth", "twentieth", "twenty-first", "twenty-ninth", "thirtieth", "thirty-first",
    ]  # fmt: skip
    months, weekdays, _ = dates._LANGUAGES["English"]
    spelled = [
        dates._spelled(datetime.date(2021, 3, day), months.split(), weekdays.split(), "{weekday} {nth}")
        for day in (1, 2, 3, 4, 11, 12, 13, 21, 22, 23, 30, 31)
    ]
    endings = "1st 2nd 3rd 4th 11th 12th 13th 21st 22nd 23rd 30th 31st"
    assert " ".join(one.split()[1] for one in spelled) == endings
    assert spelled[0] == "Monday 1st"


MARKDOWN = """\
# find

only files in a folder

    find . -type f


Show sizes:

    $ find . -ls
    1 ./a

Several ways:

    $ find . -a
    $ find . -b

A script:

    for f in *
    do rm

See the following file:

    cat a.txt

A paragraph without a command.

# Head

    find no question
"""


def test_a_paragraph_and_the_one_command_after_it_are_a_pair() -> None:
    assert list(commands.examples_in(MARKDOWN)) == [
        ("only files in a folder", "find . -type f"),
        ("Show sizes", "find . -ls"),
    ]


def test_long_questions_and_answers_are_passed_over() -> None:
    said, command = "word " * 60, "ls " * 60
    assert list(commands.examples_in(f"{said}\n\n    ls\n\nshort\n\n    {command}\n\nboth\n\n    ls")) == [
        ("both", "ls")
    ]


def package_of(folder: Path, **files: str) -> Path:
    path = folder / "packages" / commands.PACKAGE
    path.parent.mkdir()
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content.encode())
            archive.addfile(entry, BytesIO(content.encode()))
    return path


def test_the_commands_of_a_package_are_written_once(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inside = {
        "eg-1.2.3/eg/examples/find.md": MARKDOWN,
        "eg-1.2.3/README.md": MARKDOWN,
        "eg-1.2.3/eg/examples/x.txt": "a",
    }
    package_of(cache, **inside)
    with pytest.raises(UserError, match="has other bytes than it should"):
        commands.write_commands()
    monkeypatch.setattr(commands, "_SHA256", packages.sha256(cache / "packages" / commands.PACKAGE))
    rows = rows_of(commands.write_commands())
    assert rows[0] == {"prompt": "find: only files in a folder", "completion": "find . -type f"}
    assert len(rows) == 2


def test_a_package_that_is_not_there_is_said_with_the_command(cache: Path) -> None:
    with pytest.raises(
        UserError, match=r"data=commands: .*eg-1\.2\.3\.tar\.gz is not there: `make` fetches it, or: pip"
    ):
        commands.write_commands()


def test_the_real_package_has_six_hundred_pairs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    if not (packages.packages() / commands.PACKAGE).is_file():
        pytest.skip("not fetched")
    monkeypatch.setattr(commands, "user_cache_path", lambda name: tmp_path)
    entries = find_conversations(None, str(commands.write_commands()), refuse).entries
    assert len(entries) == 606
    assert not any(entry.problem for entry in entries)
    assert max(len(entry.label) for entry in entries) <= 100
