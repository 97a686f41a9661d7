"""A page needs no other file, shows names as they are, and follows the files that it is made of."""

import base64
import hashlib
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from conftest import write_pictures
from ft_lightning import figures
from ft_lightning.command import compose
from ft_lightning.page import Picture, Section, number, write_page
from ft_lightning.run_page import write_run_page
from ft_lightning.tables import read_table, write_table
from ft_lightning.thumbnails import read_thumbnails, write_thumbnails
from ft_lightning.train import train

HOSTILE = "<script>document.title='taken'</script>\"'&$x_1$" + "w" * 200


def test_names_are_text_in_every_kind_of_block(tmp_path: Path) -> None:
    Image.new("RGB", (30, 20)).save(tmp_path / "a.jpg")
    confusion = figures.confusion_matrix({HOSTILE: {"b": 2}, "b": {"b": 1}}, [HOSTILE, "b"])
    table = pd.DataFrame({HOSTILE: [HOSTILE, "b"], "n": [2, 10]})
    section = Section(
        HOSTILE, HOSTILE, {HOSTILE: HOSTILE}, [confusion], table,
        [Picture(tmp_path / "a.jpg", [HOSTILE]), Picture(None, ["gone"])], HOSTILE,
    )  # fmt: skip
    write_page(tmp_path / "page.html", HOSTILE, HOSTILE, [section] * 4)
    html = (tmp_path / "page.html").read_text()
    assert html.count("<script>") == 1, "the page's own"
    assert html.count(HOSTILE.partition("document")[0].replace("<", "&lt;").replace(">", "&gt;")) > 20
    assert not re.search(r"(src|href)=\"(?!#|data:image/(jpeg|png);base64,)", html)


def test_only_the_page_s_own_script_may_run_and_nothing_is_loaded(tmp_path: Path) -> None:
    write_page(tmp_path / "page.html", "title", "", [Section("one", figures=[figures.training_curves(HISTORY)] * 2)])
    html = (tmp_path / "page.html").read_text()
    (script,) = re.findall(r"<script>(.*?)</script>", html, re.S)
    allowed = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    (policy,) = re.findall(r'Content-Security-Policy"\s+content="(.*?)"', html)
    assert "default-src 'none'" in policy
    assert f"script-src 'sha256-{allowed}'" in policy.replace("&#43;", "+").replace("&#39;", "'")
    marks = [set(re.findall(r'id="(\w+)"', svg)) for svg in re.findall(r"<svg.*?</svg>", html, re.S)]
    assert not marks[0] & marks[1], "figures do not take each other's marks"


HISTORY = pd.DataFrame({"epoch": [0, 1], "train/loss": [1.0, 0.5], "val/loss": [1.0, 0.7], "val/accuracy": [0.4, 0.6]})


def test_numbers_are_shown_short_and_sorted_whole(tmp_path: Path) -> None:
    table = pd.DataFrame({"x": [0.123456789, None, 12345.678], "n": [1, 2, 30000], "text": ["b", "", "a"]})
    write_page(tmp_path / "page.html", "t", "", [Section("s", table=table)])
    html = (tmp_path / "page.html").read_text()
    assert '<td class="number" data-key="0.123456789">0.1235</td>' in html
    assert '<td class="number" data-key=""></td>' in html
    assert '<td class="number" data-key="12345.678">12,345.7</td>' in html
    assert '<td class="number" data-key="30000">30,000</td>' in html
    assert "<td>b</td>" in html
    assert [number(value) for value in (None, float("nan"), 3, 0.5, "x")] == ["", "", "3", "0.5000", "x"]


def test_thumbnails_are_small_and_those_that_cannot_be_read_are_left_out(tmp_path: Path) -> None:
    Image.new("RGB", (1000, 500), "red").save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"none")
    files = [("x/a.png", str(tmp_path / "a.png")), ("=b", str(tmp_path / "b.png")), ("=a", str(tmp_path / "a.png"))]
    write_thumbnails(files, tmp_path / "thumbnails", 10**6)
    found = read_thumbnails(tmp_path / "thumbnails")
    assert set(found) == {"x/a.png", "=a"}
    with Image.open(found["=a"]) as image:
        assert (image.format, max(image.size)) == ("JPEG", 240)
    write_thumbnails(files[:1], tmp_path / "thumbnails", 10)
    assert read_thumbnails(tmp_path / "thumbnails") == {}, "more pixels than allowed, and the old ones are gone"
    assert len(list((tmp_path / "thumbnails").iterdir())) == 1
    assert read_thumbnails(tmp_path / "nowhere") == {}


@pytest.mark.parametrize("classes", [2, 30, 31, 1000])
def test_figures_are_drawn_for_any_number_of_classes(classes: int) -> None:
    names = [f"${number}$ {HOSTILE}" for number in range(classes)]
    figures.confusion_matrix({name: {name: 3, names[0]: 1} for name in names}, names).canvas.draw()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small run with hostile names."""
    folder = tmp_path_factory.mktemp("run")
    root = write_pictures(folder / "pictures", {"=cmd()": 15, "<b>bee": 15, "cat": 15})
    (folder / "run").mkdir()
    tiny = ["model=timm", "model.name=test_resnet", "model.weights=null", "trainer.max_epochs=2", "precision=32-true"]
    train(compose("train", f"data.root={root}", *tiny), folder / "run")
    return folder / "run"


def changed_json(name: str, change: Callable[[dict], object]) -> Callable[[Path], None]:
    def do(folder: Path) -> None:
        content = json.loads((folder / name).read_text())
        change(content)
        (folder / name).write_text(json.dumps(content))

    return do


def changed_table(name: str, column: str, value: object) -> Callable[[Path], None]:
    def do(folder: Path) -> None:
        table = read_table(folder / name)
        table[column] = value
        write_table(table, folder / name)

    return do


def metrics(change: Callable[[dict], object]) -> Callable[[Path], None]:
    return changed_json("metrics.json", change)


CONFIG = "# python -m x.train a=1\nseed: 77\n"
CHANGES: dict[str, tuple[Callable[[Path], object], list[str]]] = {
    "accuracy": (metrics(lambda m: m["test"].update(accuracy=0.12341)), ["12.3% of", "0.1234"]),
    "interval": (metrics(lambda m: m["test"].update(accuracy_ci95=[0.11119, 0.22229])), ["11.1% to 22.2%"]),
    "majority": (metrics(lambda m: m["test"].update(majority_accuracy=0.31411)), ["0.3141", "31.4%"]),
    "neighbours": (metrics(lambda m: m["test"].update(knn_accuracy=0.27181)), ["0.2718", "27.2%"]),
    "confusion": (metrics(lambda m: m["test"].update(confusion={"cat": {"=cmd()": 4321}})), ["4,321"]),
    "class": (metrics(lambda m: m["test"]["per_class"]["cat"].update(f1=0.98765)), ["0.98765"]),
    "temperature": (metrics(lambda m: m["calibration"].update(temperature=1.98761)), ["1.9876"]),
    "before": (metrics(lambda m: m["calibration"]["before"]["test"].update(ece=0.45671)), ["0.4567 before"]),
    "time": (metrics(lambda m: m["timing"].update(fit_s=4567.8)), ["4567.8 s"]),
    "store": (metrics(lambda m: m["timing"]["cache"].update(hits=98765)), ["98,765 from the store"]),
    "version": (metrics(lambda m: m["versions"].update(torch="9.8.7")), ["9.8.7"]),
    "model": (changed_json("model/model.json", lambda m: m["backbone"].update(name="some_net")), ["some_net (timm)"]),
    "probability": (changed_table("predictions.csv", "probability", 0.87654), ["probability 0.877"]),
    "label": (changed_table("predictions.csv", "label", "somebody"), ["somebody → "]),
    "curve": (changed_table("metrics.csv", "val/accuracy", 0.54321), ["epoch 0: 0.5432"]),
    "split": (changed_table("split.csv", "class", "renamed"), ["<td>renamed</td>"]),
    "left out": (changed_table("split.csv", "excluded", "a reason"), ["<td>a reason</td>", "45 samples took no part"]),
    "neighbour": (changed_table("report_data/neighbours.csv", "neighbour", "twin.png"), ["most like twin.png ("]),
    "config": (
        lambda folder: (folder / "config.yaml").write_text(CONFIG),
        ["<pre>python -m x.train a=1</pre>", ": 77"],
    ),
}


@pytest.mark.parametrize("what", CHANGES)
def test_each_number_comes_from_the_run_s_files(what: str, run: Path, tmp_path: Path) -> None:
    change, expected = CHANGES[what]
    folder = Path(shutil.copytree(run, tmp_path / "copy"))
    before = write_run_page(folder).read_text()
    change(folder)
    after = write_run_page(folder).read_text()
    for said in expected:
        assert said in after, said
        assert said not in before, said


def test_the_diagrams_follow_too_and_the_same_files_make_the_same_page(run: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(run, tmp_path / run.name))
    assert write_run_page(folder).read_bytes() == (run / "report.html").read_bytes()
    changed_table("report_data/reliability.csv", "confidence", 0.3)(folder)
    assert write_run_page(folder).read_bytes() != (run / "report.html").read_bytes()


def test_hostile_names_are_text_and_the_pictures_are_inside(run: Path) -> None:
    html = (run / "report.html").read_text()
    assert "&lt;b&gt;bee" in html
    assert "<b>bee" not in html
    assert html.count("data:image/jpeg;base64,") == html.count("<img ") > 5
    assert "'=cmd()" not in html


def test_a_run_without_what_came_later_still_has_a_page(run: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(run, tmp_path / "copy"))
    for name in ("report_data", "model"):
        shutil.rmtree(folder / name)
    for name in ("metrics.csv", "split.csv"):
        (folder / name).unlink()
    html = write_run_page(folder).read_text()
    assert "<img " not in html
    assert "test samples right" in html


def test_a_run_without_an_error_says_so(run: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(run, tmp_path / "copy"))
    table = read_table(folder / "predictions.csv")
    write_table(table.assign(label=table["predicted"]), folder / "predictions.csv")
    changed_json("metrics.json", lambda m: m["test"].update(confusion={"cat": {"cat": 9}}))(folder)
    html = write_run_page(folder).read_text()
    assert "No class was taken for another." in html
    assert "Worst errors" not in html
