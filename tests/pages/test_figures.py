"""Figures show the numbers they are given, for any number of classes and any names, and leave no state behind."""

import io
import re
from collections.abc import Callable
from html import unescape

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure

from ft_lightning.pages import figures

HOSTILE = ("<script>alert(1)</script>", "$x^$ and $", "w" * 200, "&amp;\n\x07\udcff", "")
HISTORY = pd.DataFrame(
    {
        "epoch": [0, 1, 2],
        "train/loss": [1.5, 0.75, 0.5],
        "val/loss": [1.25, np.nan, 0.625],
        "train/accuracy": [0.25, 0.5, 0.75],
        "val/accuracy": [0.5, np.nan, 0.875],
    }
)
BINS = pd.DataFrame(
    {
        "scaling": ["before", "before", "after", "after"],
        "confidence": [0.75, 0.9375, 0.5, 0.875],
        "accuracy": [0.5, 0.75, 0.625, 1.0],
        "n": [10, 30, 20, 20],
    }
)
BOARD = pd.DataFrame(
    {
        "run": ["outputs/train/" + "x" * 60 + "/best", "$second$"],
        "test accuracy": [0.75, 0.5],
        "low": [0.625, np.nan],
        "high": [0.8125, np.nan],
        "val accuracy": [0.7, np.nan],
    }
)
PROBABILITY = pd.Series([0.9, 0.6, 0.8, 0.7])
RIGHT = pd.Series([True, False, True, True])

EACH: dict[str, Callable[[], Figure]] = {
    "training": lambda: figures.training_curves(HISTORY),
    "confusion": lambda: figures.confusion_matrix({"a": {"a": 3, "b": 1}, "b": {"b": 2}}, ["a", "b"]),
    "reliability": lambda: figures.reliability_diagram(BINS),
    "coverage": lambda: figures.coverage_curve(PROBABILITY, RIGHT),
    "intervals": lambda: figures.intervals_of_runs(BOARD, "accuracy"),
    "sizes": lambda: figures.image_sizes({(64, 48): 3, (640, 480): 1}),
}


def texts(figure: Figure) -> list[str]:
    """What is written in a figure, as an SVG of it says."""
    file = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none"}):
        figure.savefig(file, format="svg")
    return [unescape(text) for text in re.findall(r"<text[^>]*>([^<]*)</text>", file.getvalue())]


def drawn(figure: Figure, part: int = 0) -> dict[str, list[tuple[float, float]]]:
    """The points of each line that has a name."""
    return {
        str(line.get_label()): [(float(x), float(y)) for x, y in line.get_xydata()]  # type: ignore[union-attr]
        for line in figure.axes[part].lines
        if not str(line.get_label()).startswith("_")
    }


@pytest.mark.parametrize("name", EACH)
def test_a_figure_stands_for_itself(name: str) -> None:
    plt.close("all")
    before = dict(mpl.rcParams)
    figure = EACH[name]()
    figure.savefig(io.BytesIO(), format="png")
    assert type(figure) is Figure
    assert plt.get_fignums() == [], "pyplot would keep each of them in memory and show it in a notebook twice"
    assert dict(mpl.rcParams) == before


def test_curves_pass_through_the_numbers_of_the_epochs_that_have_one() -> None:
    figure = figures.training_curves(HISTORY)
    assert drawn(figure, 0) == {"train": [(1, 1.5), (2, 0.75), (3, 0.5)], "val": [(1, 1.25), (3, 0.625)]}
    assert drawn(figure, 1) == {"train": [(1, 0.25), (2, 0.5), (3, 0.75)], "val": [(1, 0.5), (3, 0.875)]}
    assert [axes.get_ylabel() for axes in figure.axes] == ["loss", "accuracy"]
    assert set(drawn(figures.training_curves(HISTORY[["epoch", "train/loss"]]))) == {"train"}


def test_a_cell_is_coloured_by_the_share_of_its_row_and_says_its_count() -> None:
    confusion = {"a": {"a": 1500, "c": 500}, "b": {"a": 3, "b": 1}}  # c has no sample
    figure = figures.confusion_matrix(confusion, ["a", "b", "c"])
    (image,) = figure.axes[0].images
    assert np.asarray(image.get_array()).tolist() == [[0.75, 0, 0.25], [0.75, 0.25, 0], [0, 0, 0]]
    assert (image.norm.vmin, image.norm.vmax) == (0, 1)
    cells = {(text.get_position()): text.get_text() for text in figure.axes[0].texts}
    assert cells == {(0, 0): "1,500", (2, 0): "500", (0, 1): "3", (1, 1): "1"}


@pytest.mark.parametrize("classes", [1, 2, 15, 16, 30, 31, 1000])
def test_a_confusion_matrix_of_any_size_is_legible(classes: int) -> None:
    names = [f"class {number}" for number in range(classes)]
    figure = figures.confusion_matrix({name: {name: 3, names[0]: 1} for name in names}, names)
    written = texts(figure)
    assert figure.get_figwidth() == figure.get_figheight() <= 9
    assert written.count("labelled") == written.count("answered") == 1
    shown = [text for text in written if text.startswith("class ")]
    assert shown == 2 * (names if classes <= 30 else names[:: classes // 15])
    assert bool(figure.axes[0].texts) == (classes <= 15), "larger ones have no room for numbers"


@pytest.mark.parametrize("classes", [2, 30, 1000])
@pytest.mark.parametrize("name", HOSTILE)
def test_names_are_drawn_as_they_are_in_one_short_line(name: str, classes: int) -> None:
    names = [f"{name}{number}" if number else name for number in range(classes)]
    written = texts(figures.confusion_matrix({one: {one: 1} for one in names}, names))
    first = "".join(letter if letter.isprintable() else "\ufffd" for letter in name)
    expected = first if len(first) <= 18 else first[:17] + "…"
    assert written.count(expected) >= 2 or not name
    assert all(len(text) <= 18 for text in written)


def test_the_names_of_runs_keep_their_end_and_are_no_formulas() -> None:
    written = texts(figures.intervals_of_runs(BOARD, "accuracy"))
    assert f"…{'x' * 34}/best" in written
    assert "$second$" in written


def test_the_intervals_are_those_of_the_runs_the_first_on_top() -> None:
    figure = figures.intervals_of_runs(BOARD, "accuracy")
    axes = figure.axes[0]
    bottom, top = axes.get_ylim()
    assert bottom > top, "row 0 is the highest"
    (container,) = axes.containers
    (lines,) = container.lines[2]
    (first, second) = lines.get_segments()
    assert first[:, 0].tolist() == [0.625, 0.8125]
    assert second.size == 0, "a run may say no interval"


def test_bins_are_drawn_where_they_are_and_as_large_as_they_are_full() -> None:
    figure = figures.reliability_diagram(BINS)
    points = {c.get_label(): c for c in figure.axes[0].collections if isinstance(c, PathCollection)}
    for scaling in ("before", "after"):
        rows = BINS[BINS["scaling"] == scaling]
        assert (
            np.asarray(points[scaling].get_offsets()).tolist() == rows[["confidence", "accuracy"]].to_numpy().tolist()
        )
    small, large = points["before"].get_sizes()
    assert large > 2 * small
    assert set(texts(figure)) >= {"before", "after"}
    figures.reliability_diagram(BINS.head(0)).savefig(io.BytesIO())


@pytest.mark.parametrize("n", [1, 9, 10, 57, 5000])
def test_the_coverage_curve_counts_the_most_certain_answers(n: int) -> None:
    rng = np.random.default_rng(n)
    probability, right = pd.Series(rng.random(n).round(2)), pd.Series(rng.random(n) < 0.7)
    (line,) = figures.coverage_curve(probability, right).axes[0].lines
    points = np.asarray(line.get_xydata())
    assert len(points) <= 400
    assert points[0, 0] == pytest.approx(min(10, n) / n), "of fewer than ten an accuracy says nothing"
    assert points[-1].tolist() == pytest.approx([1, right.mean()])
    order = sorted(range(n), key=lambda i: -probability[i])
    for share, accuracy in points[:: max(1, len(points) // 20)]:
        answered = order[: round(share * n)]
        assert accuracy == pytest.approx(sum(right[i] for i in answered) / len(answered))


@pytest.mark.parametrize(
    ("sizes", "scale"),
    [
        ({(64, 48): 3, (100, 80): 2}, "linear"),
        ({(64, 48): 3, (4000, 3000): 2, (30, 900): 4}, "log"),
        ({(1, 1): 1, (1, 8000): 1}, "linear"),
        ({(224, 224): 7}, "linear"),
    ],
)
def test_every_image_is_in_a_bar_of_both_histograms(sizes: dict[tuple[int, int], int], scale: str) -> None:
    figure = figures.image_sizes(sizes)
    for axes in figure.axes:
        assert sum(bar.get_height() for bar in axes.patches) == sum(sizes.values())  # type: ignore[attr-defined]
    assert figure.axes[0].get_xscale() == scale
    assert {"shorter edge, pixels", "width / height"} <= set(texts(figure))
