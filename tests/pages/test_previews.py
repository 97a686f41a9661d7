"""The beginning of a text is shown as what it is: escaped, with its marks, and never wider than its frame."""

import math
import re
from pathlib import Path

import pandas as pd
import pytest
from markupsafe import escape

from ft_lightning.pages.page import Preview, Section, write_page
from ft_lightning.pages.previews import Previews, drawn
from ft_lightning.readers.sample import Sample
from ft_lightning.runs.previews import Mark, Snippet, write_previews
from ft_lightning.runs.run import Run
from pages.test_page import Reader

HOSTILE = ("<script>alert(1)</script>", "</div><img src=x onerror=alert(1)>", "\"'><b>&lt;", "{{ 7 * 7 }}")


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("marks", [(), (Mark(0, 7, 1.0),), (Mark(0, 3, 0.5), Mark(4, 9, 0.25))])
def test_no_text_becomes_markup(text: str, marks: tuple[Mark, ...], tmp_path: Path) -> None:
    write_page(tmp_path / "page.html", "t", "", [Section("s", images=[Preview(Snippet(text, marks), ["caption"])])])
    page = Reader(tmp_path / "page.html")
    tags = [tag for tag, _ in page.elements]
    (attributes,) = [found for tag, found in page.elements if found.get("class") == "snippet"]
    assert attributes["dir"] == "auto"
    assert tags.count("script") == 1
    assert "img" not in tags
    assert tags.count("mark") == len(marks)
    bare = re.sub(r"</?mark[^>]*>", "", drawn(Snippet(text, marks)))
    assert bare == f'<div class="snippet" dir="auto">{escape(text)}</div>'


@pytest.mark.parametrize(
    "marks",
    [
        (Mark(-1, 3, 1.0), Mark(3, 99, 1.0), Mark(4, 4, 1.0), Mark(5, 3, 1.0), Mark(0, 2, math.nan), Mark(0, 2, 9.0)),
        (Mark(0, 4, 1.0), Mark(2, 6, 1.0)),
    ],
)
def test_marks_that_do_not_fit_change_no_letter(marks: tuple[Mark, ...]) -> None:
    html = drawn(Snippet("a film, and a good one", marks))
    assert html.count("<mark") == (len(marks) == 2), "the first of two that overlap"
    assert re.sub(r"<[^>]*>", "", html) == "a film, and a good one"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("x" * 10_000, "x" * 16 + "…" + "x" * 16),
        ("x" * 40 + " " + "y" * 41, "x" * 40 + " " + "y" * 16 + "…" + "y" * 16),
        ("short words stay", "short words stay"),
        ("two\nlines\n \n\n\nand a third", "two\nlines\nand a third"),
        ("&" * 60, "&amp;" * 16 + "…" + "&amp;" * 16),
    ],
)
def test_the_middle_of_a_long_word_and_empty_lines_are_left_out(text: str, shown: str) -> None:
    assert drawn(Snippet(text)) == f'<div class="snippet" dir="auto">{shown}</div>'
    assert f'<mark style="--weight: 50%">{shown}</mark>' in drawn(Snippet(text, (Mark(0, len(text), 0.5),)))


def test_what_marks_mean_is_said_where_there_are_any(tmp_path: Path) -> None:
    run = Run(tmp_path)
    write_previews([Sample.of_text("a", "good film")], run.previews, lambda sample: sample.content)
    assert Previews(run).said == ""
    run.write("words", pd.DataFrame([("a", 0, 4, 1.0)], columns=["path", "start", "end", "weight"]))
    assert Previews(run).of("a") == Snippet("good film", (Mark(0, 4, 1.0),))
    assert "speak for the answer" in Previews(run).said
    assert Previews(run).of("b") is None
