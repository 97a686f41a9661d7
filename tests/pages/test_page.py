"""A page needs no other file, and shows names as they are and numbers so that they sort."""

import base64
import hashlib
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from jinja2 import UndefinedError
from matplotlib.figure import Figure
from PIL import Image

from ft_lightning.pages import figures
from ft_lightning.pages.page import Preview, Section, number, write_page

HOSTILE = (
    "<script>document.title='taken'</script>",
    "\"'><img src=x onerror=alert(1)>",
    "</td></svg></style></title></pre></script><script>alert(1)</script>",
    "{{ 7 * 7 }}{% raw %} &lt; &amp; $x_1$",
    "javascript:alert(1)//--><!--",
)


class Reader(HTMLParser):
    """The elements of a page in their order, with their attributes, and the text of each."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []  # without that of the elements inside
        self._open: list[tuple[str, int]] = []
        self.feed(path.read_text(encoding="utf-8"))
        self.close()
        assert self._open == [], "every element is closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in ("meta", "img"):  # which have no end
            self._open.append((tag, len(self.texts)))
            self.texts.append((tag, ""))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop()[0] == tag

    def handle_data(self, data: str) -> None:
        if self._open:
            tag, at = self._open[-1]
            self.texts[at] = (tag, self.texts[at][1] + data)

    def outline(self) -> list[tuple[str, list[str]]]:
        return [(tag, sorted(attributes)) for tag, attributes in self.elements]


def written(folder: Path, *sections: Section, title: str = "title", subtitle: str = "") -> Reader:
    write_page(folder / "page.html", title, subtitle, sections)
    return Reader(folder / "page.html")


def picture(folder: Path) -> Path:
    Image.new("RGB", (30, 20), "red").save(folder / "a.jpg")
    return folder / "a.jpg"


def matrix(name: str) -> Figure:
    return figures.confusion_matrix({name: {"long name": 2}, "long name": {name: 1}}, [name, "long name"])


# What a name may get into -> the element whose text it is then; a page of sections is made of one name.
PLACES: dict[str, tuple[str, Callable[[str, Path], dict[str, Any]]]] = {
    "title": ("title", lambda name, _: {"title": name}),
    "heading": ("h1", lambda name, _: {"title": name}),
    "subtitle": ("p", lambda name, _: {"subtitle": name}),
    "section": ("h2", lambda name, _: {"section": Section(name)}),
    "contents": ("a", lambda name, _: {"section": Section(name)}),
    "text": ("p", lambda name, _: {"section": Section("s", name)}),
    "fact": ("dt", lambda name, _: {"section": Section("s", facts={name: "value"})}),
    "value": ("dd", lambda name, _: {"section": Section("s", facts={"fact": name})}),
    "column": ("button", lambda name, _: {"section": Section("s", table=pd.DataFrame({name: [1]}))}),
    "cell": ("td", lambda name, _: {"section": Section("s", table=pd.DataFrame({"a": [name]}))}),
    "caption": ("b", lambda name, at: {"section": Section("s", images=[Preview(picture(at), [name])])}),
    "line": ("span", lambda name, _: {"section": Section("s", images=[Preview(None, ["a", name])])}),
    "code": ("pre", lambda name, _: {"section": Section("s", code=name)}),
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_is_text_in_every_kind_of_block(name: str, place: str, tmp_path: Path) -> None:
    element, make = PLACES[place]

    def page(name: str) -> Reader:
        parts = make(name, tmp_path)
        sections = [parts.pop("section", Section("s"))] * 4
        return written(tmp_path, *sections, **parts)

    hostile, harmless = page(name), page("harmless")
    assert (element, name) in hostile.texts
    assert hostile.outline() == harmless.outline()


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_is_text_in_a_figure(name: str, tmp_path: Path) -> None:
    hostile = written(tmp_path, Section("s", figures=[matrix(name)]))
    harmless = written(tmp_path, Section("s", figures=[matrix("harmless name")]))
    assert hostile.outline() == harmless.outline()
    shown = name if len(name) <= 18 else name[:17] + "…"
    assert [text for _, text in hostile.texts].count(shown) == 2


def everything(folder: Path) -> Section:
    """A section of each kind of block."""
    table = pd.DataFrame({"name": ["a", "b"], "n": [1, 2]})
    shown = [Preview(picture(folder), ["seen"]), Preview(None, ["gone"])]
    return Section("s", "text", {"a": "b"}, [matrix("a"), matrix("a")], table, shown, "code")


def test_nothing_is_loaded_from_elsewhere(tmp_path: Path) -> None:
    page = written(tmp_path, *[everything(tmp_path)] * 4)
    assert not {"link", "iframe", "object", "base", "form"} & {tag for tag, _ in page.elements}
    kinds = ("src", "href", "xlink:href", "srcset", "action", "style", "clip-path")
    named = [str(attributes[kind]) for _, attributes in page.elements for kind in kinds if kind in attributes]
    outside = [value for value in named if "//" in value and not value.startswith("data:image/")]
    assert outside == []
    own = {attributes["id"] for _, attributes in page.elements if "id" in attributes}
    references = [value for value in named if value.startswith("#")]
    assert references
    assert {value.removeprefix("#") for value in references} <= own
    style = re.findall(r"<style.*?</style>", (tmp_path / "page.html").read_text(), re.S)
    assert not re.search(r"@import|url\((?!#)", "".join(style))


def test_a_picture_is_inside_byte_for_byte_and_one_that_is_gone_leaves_its_place(tmp_path: Path) -> None:
    page = written(tmp_path, everything(tmp_path))
    (source,) = [str(attributes["src"]) for tag, attributes in page.elements if tag == "img"]
    assert source == f"data:image/jpeg;base64,{base64.b64encode(picture(tmp_path).read_bytes()).decode()}"
    assert [a["class"] for tag, a in page.elements if tag == "div" and a.get("class") == "gone"] == ["gone"]


def test_only_the_page_s_own_script_may_run(tmp_path: Path) -> None:
    page = written(tmp_path, everything(tmp_path))
    (script,) = [text for tag, text in page.texts if tag == "script"]
    (policy,) = [a["content"] for _, a in page.elements if a.get("http-equiv") == "Content-Security-Policy"]
    allowed = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    rules = dict(rule.strip().split(" ", 1) for rule in str(policy).split(";"))
    assert rules == {
        "default-src": "'none'",
        "img-src": "data:",
        "style-src": "'unsafe-inline'",
        "script-src": f"'sha256-{allowed}'",
    }
    tags = [tag for tag, _ in page.elements]
    assert tags.index("meta") < tags.index("script"), "a policy holds for what comes after it"
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]


def test_figures_do_not_take_each_other_s_marks(tmp_path: Path) -> None:
    page = written(tmp_path, everything(tmp_path), everything(tmp_path))
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) > 6
    clips = re.findall(r'<clipPath id="(\w+)"', (tmp_path / "page.html").read_text())
    assert len(clips) >= 4
    assert len(set(clips[: len(clips) // 4])) == len(clips) // 4


def test_a_figure_takes_the_colour_of_the_text_and_no_state_stays(tmp_path: Path) -> None:
    before = dict(mpl.rcParams)
    written(tmp_path, everything(tmp_path))
    html = (tmp_path / "page.html").read_text()
    assert dict(mpl.rcParams) == before
    assert "currentColor" in html
    assert "#000000" not in html.partition("<svg")[2]
    assert "<metadata>" not in html, "which has the time of day, and addresses"


def test_the_same_sections_make_the_same_page(tmp_path: Path) -> None:
    pages = []
    for _ in range(2):
        written(tmp_path, everything(tmp_path), everything(tmp_path))
        pages.append((tmp_path / "page.html").read_bytes())
    assert pages[0] == pages[1]


def cells(page: Reader) -> list[str | None]:
    """The key that each cell sorts by; None where it sorts by its text."""
    return [attributes.get("data-key") for tag, attributes in page.elements if tag == "td"]


@pytest.mark.parametrize(
    ("values", "shown", "keys"),
    [
        ([0.123456789, None, 12345.678], ["0.1235", "", "12,345.7"], ["0.123456789", "", "12345.678"]),
        ([1, 2, 30000], ["1", "2", "30,000"], ["1", "2", "30000"]),
        ([1e-9, -3.25e-4, -20.0], ["1e-09", "-0.000325", "-20.0"], ["1e-09", "-0.000325", "-20.0"]),
        ([np.float32(0.5), np.float32(2)], ["0.5000", "2.0000"], ["0.5", "2.0"]),
        ([None, float("nan")], ["", ""], [None, None]),
        (pd.array([7, None], dtype="Int64"), ["7", ""], ["7", ""]),
        (["b", "", "10"], ["b", "", "10"], [None] * 3),
        ([True, False], ["True", "False"], [None] * 2),
        (["a", None], ["a", ""], [None] * 2),
    ],
)
def test_numbers_are_shown_short_and_sort_by_all_their_digits(
    values: list[Any], shown: list[str], keys: list[str | None], tmp_path: Path
) -> None:
    kind = object if keys == [None] * len(keys) else None
    page = written(tmp_path, Section("s", table=pd.DataFrame({"x": pd.Series(values, dtype=kind)})))
    assert [text for tag, text in page.texts if tag == "td"] == shown
    assert cells(page) == keys
    for value, key in zip(values, keys, strict=True):
        assert not key or float(key) == value


def test_a_number_is_shown_as_a_person_reads_it() -> None:
    values = (None, float("nan"), 0, 3, 1234567, 0.5, 9.99999, 10.0, -1234.56, "x")
    shown = ["", "", "0", "3", "1,234,567", "0.5000", "10.0000", "10.0", "-1,234.6", "x"]
    assert [number(value) for value in values] == shown


def test_a_table_has_a_row_for_each_and_may_have_none_and_a_long_one_scrolls(tmp_path: Path) -> None:
    for rows, classes in ((0, "scroll"), (20, "scroll"), (21, "scroll long")):
        page = written(tmp_path, Section("s", table=pd.DataFrame({"n": range(rows), "twice": range(rows)})))
        assert [tag for tag, _ in page.elements].count("tr") == rows + 1
        assert [a["class"] for tag, a in page.elements if a.get("tabindex") == "0"] == [classes]


def test_what_is_empty_is_left_out(tmp_path: Path) -> None:
    page = written(tmp_path, Section("only a title"))
    tags = [tag for tag, _ in page.elements]
    inside = tags[tags.index("section") + 1 : tags.index("script")]
    assert inside == ["h2"]
    assert "nav" not in tags, "of one section there is no table of contents"


def test_every_section_is_in_the_table_of_contents(tmp_path: Path) -> None:
    page = written(tmp_path, *[Section(title) for title in "abcd"])
    links = [str(attributes["href"]) for tag, attributes in page.elements if tag == "a"]
    assert links == [f"#{attributes['id']}" for tag, attributes in page.elements if tag == "section"]
    assert [text for tag, text in page.texts if tag == "a"] == list("abcd")


def test_bytes_that_are_no_text_are_written_as_such(tmp_path: Path) -> None:
    assert ("pre", r"caf\udce9") in written(tmp_path, Section("s", code="caf\udce9")).texts


def test_what_a_template_asks_for_and_does_not_get_is_an_error_and_leaves_no_page(tmp_path: Path) -> None:
    incomplete: Any = SimpleNamespace(title="s", text="", facts={}, figures=(), table=None, images=())
    with pytest.raises(UndefinedError, match="code"):
        write_page(tmp_path / "page.html", "title", "", [incomplete])
    assert list(tmp_path.iterdir()) == []
