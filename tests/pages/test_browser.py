"""The pages in a real browser: quiet, self-contained, sortable, as narrow as a telephone, and deaf to names."""

import json
import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from matplotlib.figure import Figure
from PIL import Image

from conftest import write_pictures
from ft_lightning.check import check
from ft_lightning.cli.compose import compose
from ft_lightning.evaluate import evaluate
from ft_lightning.pages.page import Preview, Section, write_page
from ft_lightning.report import report
from ft_lightning.runs.previews import Mark, Snippet, visible
from ft_lightning.train import train

webdriver = pytest.importorskip("selenium.webdriver", reason="no selenium")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="no browser: apt-get install chromium chromium-driver, or Chrome with its driver"
)

TITLE = "document.title='caught'"
SCRIPT = f"<script>{TITLE}</script>"
HOSTILE = (
    SCRIPT,
    f"\"'><img src=x onerror={TITLE}>",
    f"</td></svg></style></script>{SCRIPT}",
    "{{ 7 * 7 }} ${x} &lt;\n日本語 😀 \x07",
)
TINY = ["model=timm", "model.name=test_resnet", "model.weights=null", "trainer.max_epochs=1", "precision=32-true"]
KINDS = ("sections", "run", "evaluation", "comparison", "check")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    # No sandbox: containers have no user namespaces. No names resolve: a request would fail, and show in the log.
    for argument in ("headless=new", "no-sandbox", "disable-dev-shm-usage", "host-resolver-rules=MAP * ~NOTFOUND"):
        options.add_argument(f"--{argument}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A page of each kind, of data whose every name is hostile."""
    folder = tmp_path_factory.mktemp("pages")
    root = write_pictures(folder / "pictures", dict.fromkeys("abcd", 10))
    rows = []
    for label, path in zip(sorted(HOSTILE * 10), sorted(root.rglob("*.png")), strict=True):
        renamed = path.rename(path.with_name(f"<img src=x onerror={TITLE}> {path.name}"))
        rows.append({"path": renamed.relative_to(root).as_posix(), "label": label})
    pd.DataFrame(rows).to_csv(folder / "data.csv", index=False)
    data = [f"data.csv={folder / 'data.csv'}", f"data.root={root}"]
    runs = [folder / "runs" / f"<img src=x onerror={TITLE}>", folder / "runs/second"]
    for seed, run in enumerate(runs):
        run.mkdir(parents=True)
        train(compose("train", *data, *TINY, f"seed={seed}", "trainer.enable_progress_bar=false"), run)
    made = ("evaluation", "comparison", "check")
    for kind in made:
        (folder / kind).mkdir()
    evaluate(compose("evaluate", *data, f"model_dir={runs[1]}", "precision=32-true"), folder / "evaluation")
    report(compose("report", f"runs={folder / 'runs'}"), folder / "comparison")
    check(compose("check", *data, *TINY[:3], "precision=32-true"), folder / "check")
    write_sections(folder / "sections")
    places = {"sections": folder / "sections", "run": runs[0]} | {kind: folder / kind for kind in made}
    return {kind: place / "report.html" for kind, place in places.items()}


NUMBERS = [10.5, math.nan, -3.0, 9.25, -20.0, 1e-9, 1234.5]
WORDS = ["item 10", "Item 9", "", "item 2", SCRIPT, "zebra", "ähre"]


def write_sections(folder: Path) -> None:
    """A page with everything that a section can hold."""
    folder.mkdir()
    Image.new("RGB", (40, 30), "red").save(folder / "picture.jpg")
    figure = Figure()
    figure.subplots().set_title(HOSTILE[2], parse_math=False)
    table = pd.DataFrame({"word": WORDS, HOSTILE[1]: NUMBERS, "whole": range(1995, 2002)})
    wide = pd.DataFrame({f"column {i} of a wide table": [i] for i in range(20)})
    texts = (*HOSTILE, "x" * 10_000, "שלום " * 60, "行" * 300, "\n" * 200 + "end")
    pictures = [Preview(folder / "picture.jpg", HOSTILE), Preview(None, ["gone"])]
    pictures += [Preview(Snippet(visible(text), (Mark(0, 3, 1.0),)), ["a text"]) for text in texts]
    sections = [
        Section(HOSTILE[0], HOSTILE[1], dict.fromkeys(HOSTILE, "x" * 300), [figure], table, pictures, HOSTILE[2]),
        Section("Wide", table=wide, figures=[Figure(figsize=(20, 2))]),
        Section("Empty", table=table.head(0)),
    ]
    write_page(folder / "report.html", f"Title {HOSTILE[0]}", HOSTILE[2], sections)


@pytest.fixture(params=KINDS)
def page(request: pytest.FixtureRequest, browser: Any, pages: dict[str, Path]) -> Path:
    """A page that the browser has just opened, with empty logs before."""
    for log in ("browser", "performance"):
        browser.get_log(log)
    browser.get(pages[request.param].as_uri())
    return pages[request.param]


def test_it_is_quiet_complete_and_asks_for_nothing(browser: Any, page: Path) -> None:
    assert browser.get_log("browser") == [], "errors, warnings, and what the page's own policy forbids"
    assert requests(browser) == [page.as_uri()]
    shown = browser.execute_script(
        "for (const image of document.images) image.loading = 'eager';"
        "return Promise.all([...document.images].map(image => image.decode())).then(all => all.length)"
    )
    assert shown == len(browser.find_elements("tag name", "img"))
    assert shown or page.parent.name == "comparison"


def requests(browser: Any) -> list[str]:
    """What has been asked for since the log was last read; pictures within the page are no request."""
    told = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    urls = [one["params"]["request"]["url"] for one in told if one["method"] == "Network.requestWillBeSent"]
    return [url for url in urls if not url.startswith("data:")]


def test_no_name_becomes_markup_or_code(browser: Any, page: Path) -> None:
    assert browser.title != "caught"
    assert len(browser.find_elements("tag name", "script")) == 1
    assert browser.execute_script("return document.querySelectorAll('[onerror], [src=x]').length") == 0
    assert TITLE in browser.find_element("tag name", "body").text, "it is shown as what it is"


def test_the_policy_stops_what_would_get_through(browser: Any, page: Path, tmp_path: Path) -> None:
    """The second lock: even markup in a page would not run."""
    broken = tmp_path / "broken.html"
    broken.write_text(page.read_text().replace("</body>", f"{HOSTILE[1]}{SCRIPT}</body>"))
    browser.get(broken.as_uri())
    assert browser.title != "caught"
    assert len(browser.get_log("browser")) >= 2


@pytest.mark.parametrize("width", [390, 1200])
def test_only_tables_scroll_sideways(browser: Any, page: Path, width: int) -> None:
    how = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", how)
    try:
        assert browser.execute_script("return innerWidth") == width
        assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


READ = """return [...document.querySelectorAll("table")].map(table => [...table.tBodies[0].rows].map(row =>
    [...row.cells].map(cell => [cell.dataset.key ?? null, cell.textContent])))"""


def test_every_column_sorts_both_ways_and_rows_stay_whole(browser: Any, page: Path) -> None:
    before = browser.execute_script(READ)
    assert before
    for number, table in enumerate(browser.find_elements("tag name", "table")):
        for column, button in enumerate(table.find_elements("css selector", "th button")):
            orders = []
            for direction in ("ascending", "descending"):
                browser.execute_script("arguments[0].click()", button)
                rows = browser.execute_script(READ)[number]
                sorted_by = browser.execute_script(
                    "return [...arguments[0].tHead.rows[0].cells].map(cell => cell.ariaSort)", table
                )
                assert sorted_by == [None] * column + [direction] + [None] * (len(sorted_by) - column - 1)
                assert sorted(map(str, rows)) == sorted(map(str, before[number]))
                orders.append([row[column] for row in rows])
            check_order(*orders)


def check_order(up: list[list[str | None]], down: list[list[str | None]]) -> None:
    """Each cell is (number as text or None, text)."""
    if any(key is not None for key, _ in up):
        numbers = [float(key) for key, _ in up if key]
        assert numbers == sorted(numbers)
        assert [float(key) for key, _ in down if key] == numbers[::-1]
    for cells in (up, down):
        empty = [not (text if key is None else key) for key, text in cells]
        assert empty == sorted(empty), "empty cells come last, either way"


def test_numbers_sort_as_numbers_and_words_as_people_do(browser: Any, pages: dict[str, Path]) -> None:
    browser.get(pages["sections"].as_uri())
    table = browser.find_element("tag name", "table")
    word, number, whole = table.find_elements("css selector", "th button")
    for button, values in (
        (word, ["item 2", "Item 9", "item 10", "zebra"]),
        (number, ["-20.0", "-3.0000", "1e-09", "9.2500", "10.5", "1,234.5"]),
        (whole, ["1,995", "1,996", "1,997", "1,998", "1,999", "2,000", "2,001"]),
    ):
        for expected in (values, values[::-1]):
            button.click()
            column = [word, number, whole].index(button)
            texts = [row[column][1] for row in browser.execute_script(READ)[0]]
            assert [text for text in texts if text in expected] == expected


def test_a_keyboard_sorts_too(browser: Any, pages: dict[str, Path]) -> None:
    from selenium.webdriver.common.keys import Keys

    browser.get(pages["sections"].as_uri())
    button = browser.find_elements("css selector", "th button")[2]
    for direction in ("ascending", "descending"):
        button.send_keys(Keys.ENTER)
        assert browser.find_elements("tag name", "th")[2].get_attribute("aria-sort") == direction
