"""Where an answer differs from the expected one is marked, in any script, and nothing in it becomes markup."""

import re

import pytest

from ft_lightning.pages.differences import compared, letters, plain


def inside(cell: str) -> str:
    return re.sub(r'^<div class="said" dir="auto">|</div>$', "", cell)


@pytest.mark.parametrize(
    ("answer", "expected", "shown"),
    [
        ("2024-03-05", "2024-03-05", "2024-03-05"),
        (" 2024-03-05\n", "2024-03-05", "2024-03-05"),
        ("2024-05-05", "2024-03-05", "2024-0<del>3</del><ins>5</ins>-05"),
        ("12", "120", "12<del>0</del>"),
        ("120", "12", "12<ins>0</ins>"),
        ("no idea", "42", "<ins>no idea</ins>"),
        ("今天很热", "今天很冷", "今天很<del>冷</del><ins>热</ins>"),
        ("שלום לכם", "שלום לך", "שלום ל<del>ך</del><ins>כם</ins>"),
        ("cafe", "cafe\u0301", "caf<del>e\u0301</del><ins>e</ins>"),
        ("ok 👍🏽", "ok 👍", "ok <del>👍</del><ins>👍🏽</ins>"),
        ("", "", ""),
        ("a<b>", "a<i>", "a&lt;<del>i</del><ins>b</ins>&gt;"),
        ("</div><script>", "x", "<ins>&lt;/div&gt;&lt;script&gt;</ins>"),
    ],
)
def test_differences_are_marked_letter_by_letter(answer: str, expected: str, shown: str) -> None:
    assert inside(compared(answer, expected)) == shown


@pytest.mark.parametrize(
    ("answer", "expected", "shown"),
    [
        (
            "one two three " * 5 + "five",
            "one two three " * 5 + "four",
            "one two three " * 5 + "<del>four</del><ins>five</ins>",
        ),
        ("كتاب جديد", "كتاب قديم", "كتاب <del>قديم</del><ins>جديد</ins>"),
        ("好" * 70 + "吗", "好" * 70 + "吧", "好" * 70 + "<del>吧</del><ins>吗</ins>"),
    ],
    ids=["long", "letters that join", "no spaces"],
)
def test_long_texts_and_joined_letters_are_compared_by_words(answer: str, expected: str, shown: str) -> None:
    assert inside(compared(answer, expected)) == shown


def test_a_letter_is_what_people_see_as_one() -> None:
    assert letters("e\u0301👩\u200d👧👍🏽x") == ["e\u0301", "👩\u200d👧", "👍🏽", "x"]


@pytest.mark.parametrize("text", ["x" * 5000, "\ud800\x00\u202e", "<b>"])
def test_any_text_is_a_cell(text: str) -> None:
    for cell in (plain(text), compared(text, "y"), compared("y", text)):
        assert len(cell) < 2000
        assert "<b>" not in cell
        cell.encode()
