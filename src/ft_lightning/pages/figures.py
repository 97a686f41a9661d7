"""Figures of a run, for its page and for notebooks; each function returns a matplotlib figure."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

# Visible on white and on black; the page recolours black to its text colour.
BLUE, ORANGE, GREY = "#3b82f6", "#ea7a1a", "#8b949e"
_NUMBERS_UP_TO = 15  # classes; with more, a cell of the confusion matrix is too small for its number
_LABELS_UP_TO = 30
_LONGEST_LABEL = 18
_BINS = 30
_WIDE = 10  # largest / smallest value from which an axis is logarithmic
_LONGEST_PATH = 40


def training_curves(history: pd.DataFrame, metric: str = "accuracy") -> Figure:
    """Plot loss and a metric of train and val by epoch.

    Args:
        history: metrics.csv: epoch, which counts from 0 there and from 1 in the figure, as on the terminal, and any of
            train/loss, val/loss, train/<metric>, val/<metric>.
    """
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    for axes, name in zip(figure.subplots(1, 2), ("loss", metric), strict=True):
        for split, colour in (("train", GREY), ("val", BLUE)):
            if f"{split}/{name}" in history.columns:
                rows = history[["epoch", f"{split}/{name}"]].dropna()
                marker = "o" if len(rows) < 40 else ""
                axes.plot(rows["epoch"] + 1, rows[f"{split}/{name}"], color=colour, label=split, marker=marker, ms=3)
        plain(axes, "epoch", name.replace("_", " "))
        axes.xaxis.get_major_locator().set_params(integer=True)
        if axes.lines:
            axes.legend(frameon=False)
    return figure


def confusion_matrix(confusion: Mapping[str, Mapping[str, int]], class_names: Sequence[str]) -> Figure:
    """Plot the samples of each class (row) by predicted class (column), coloured by the share of the row.

    Args:
        confusion: {true class: {predicted class: samples}} without zeros, as in metrics.json.
    """
    counts = np.array([[confusion.get(true, {}).get(name, 0) for name in class_names] for true in class_names])
    shares = counts / counts.sum(1, keepdims=True).clip(1)
    figure, axes = _matrix(shares, class_names, "answered", "labelled")
    if len(class_names) <= _NUMBERS_UP_TO:
        for (row, column), count in np.ndenumerate(counts):
            if count:
                dark = shares[row, column] > 0.5
                axes.text(
                    column, row, f"{count:,}", ha="center", va="center", size=8, color="#ffffff" if dark else "#111827"
                )
    return figure


def reliability_diagram(bins: pd.DataFrame) -> Figure:
    """Plot the accuracy of predictions by their probability, before and after temperature scaling.

    Args:
        bins: scaling (before or after), confidence, accuracy, n: one split of report_data/reliability.csv.
    """
    figure = Figure(figsize=(4.6, 4.2), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color=GREY, lw=1, ls="--")
    for scaling, colour in (("before", ORANGE), ("after", BLUE)):
        rows = bins[bins["scaling"] == scaling]
        sizes = 8 + 120 * rows["n"] / max(1, rows["n"].max())
        axes.plot(rows["confidence"], rows["accuracy"], color=colour, lw=1)
        axes.scatter(rows["confidence"], rows["accuracy"], s=sizes, color=colour, alpha=0.7, lw=0, label=scaling)
    axes.set(xlim=(0, 1.02), ylim=(-0.02, 1.02))
    plain(axes, "probability of the answer", "share that is right")
    legend = axes.legend(frameon=False, loc="upper left")
    for handle in legend.legend_handles:
        handle.set_sizes([40])  # type: ignore[union-attr]
    return figure


def coverage_curve(probability: pd.Series, right: pd.Series) -> Figure:
    """Plot the accuracy of the most certain of N predictions over the share of samples that is answered."""
    figure = Figure(figsize=(4.6, 4.2), layout="constrained")
    axes = figure.subplots()
    order = np.argsort(-probability.to_numpy(), kind="stable")
    hits = right.to_numpy()[order].astype(float)
    answered = np.arange(1, len(hits) + 1)
    shown = np.unique(np.linspace(min(10, len(hits)) - 1, len(hits) - 1, 400).astype(int))
    axes.plot((answered / len(hits))[shown], (hits.cumsum() / answered)[shown], color=BLUE)
    axes.set(xlim=(0, 1.02))
    plain(axes, "share of samples that is answered", "accuracy among them")
    return figure


def recall_and_precision(scores: pd.Series, has: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """Return recall (N,) and precision (N,) of answering yes for the highest scores, from one sample to all."""
    order = np.argsort(-scores.astype(float).to_numpy(), kind="stable")
    right = has.to_numpy()[order].cumsum()
    return right / max(1, int(has.sum())), right / np.arange(1, len(right) + 1)


def precision_recall_curves(curves: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> Figure:
    """Plot precision by recall for each label: {label: (recall (N,), precision (N,))}."""
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.subplots()
    colours = colormaps["turbo"](np.linspace(0.05, 0.95, len(curves)))
    for (name, (recall, precision)), colour in zip(curves.items(), colours, strict=True):
        axes.step(recall, precision, where="post", color=colour, lw=1.2, label=short_name(name))
    axes.set(xlim=(0, 1.02), ylim=(0, 1.05))
    plain(axes, "recall", "precision")
    if len(curves) > 1:
        axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5), ncols=1 + len(curves) // 16)
    return figure


def co_occurrence(counts: np.ndarray, names: Sequence[str]) -> Figure:
    """Plot how often labels occur together, (L, L) as shares of the samples that have the row's label."""
    shares = counts / counts.diagonal()[:, None].clip(1)
    return _matrix(shares, names, "has this one too", "of the samples with")[0]


def _matrix(shares: np.ndarray, names: Sequence[str], x: str, y: str) -> tuple[Figure, Axes]:
    """Draw shares (N, N) from white to blue, with the names of rows and columns, or some of them if there are many."""
    n = len(names)
    size = min(9.0, 2.2 + 0.42 * n)
    figure = Figure(figsize=(size, size), layout="constrained")
    axes = figure.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    ticks = range(n) if n <= _LABELS_UP_TO else range(0, n, n // 15)
    labels = [short_name(names[i]) for i in ticks]
    turned = 45 if max(map(len, labels)) > 3 else 0
    axes.set_xticks(ticks, labels, rotation=turned, ha="right" if turned else "center", parse_math=False)
    axes.set_yticks(ticks, labels, parse_math=False)
    axes.set(xlabel=x, ylabel=y)
    axes.spines[:].set_color(GREY)
    return figure, axes


def image_sizes(sizes: Mapping[tuple[int, int], int]) -> Figure:
    """Plot how many images have which shorter edge, and which ratio of width to height.

    Args:
        sizes: {(width, height): images}.
    """
    counts = list(sizes.values())
    shorter = np.array([min(size) for size in sizes], dtype=float)
    figure = Figure(figsize=(9, 2.6), layout="constrained")
    for axes, values, name in zip(
        figure.subplots(1, 2),
        (shorter, np.array([width / height for width, height in sizes])),
        ("shorter edge, pixels", "width / height"),
        strict=True,
    ):
        wide = values.max() > _WIDE * values.min()
        bins = np.geomspace(values.min(), values.max(), _BINS + 1) if wide else _BINS
        axes.hist(values, bins=bins, weights=counts, color=BLUE)
        if wide:
            logarithmic(axes)
        plain(axes, name, "images")
        axes.yaxis.get_major_locator().set_params(integer=True)
    return figure


def intervals_of_runs(board: pd.DataFrame, metric: str) -> Figure:
    """Plot a metric of each run on test with its 95 % interval, and on val, a row for each run.

    Args:
        board: run, "test METRIC", low, high, "val METRIC", the best first, as in leaderboard.csv.
    """
    figure = Figure(figsize=(7, 1.1 + 0.28 * len(board)), layout="constrained")
    axes = figure.subplots()
    rows = np.arange(len(board))
    test = board[f"test {metric}"].to_numpy()
    around = np.clip([test - board["low"], board["high"] - test], 0, None)
    axes.scatter(board[f"val {metric}"], rows, color=ORANGE, marker="|", s=90, label="val", zorder=3)
    axes.errorbar(test, rows, xerr=around, color=BLUE, fmt="o", ms=5, capsize=3, label="test, 95 % interval")
    axes.set_yticks(rows, [_short_end(run) for run in board["run"]], parse_math=False)
    axes.set_ylim(len(board) - 0.5, -0.5)
    plain(axes, metric, "")
    axes.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2)
    return figure


def plain(axes: Axes, x: str, y: str) -> None:
    """Name the axes, and leave the frame away."""
    axes.set(xlabel=x, ylabel=y)
    axes.grid(color=GREY, alpha=0.25, lw=0.7)
    axes.spines[["top", "right"]].set_visible(False)


def logarithmic(axes: Axes) -> None:
    """Make the horizontal axis logarithmic, with ticks at 1, 2, 5, 10 and so on."""
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.minorticks_off()


def short_name(name: str) -> str:
    """Return a name that a figure can show, cut where it is long."""
    name = _drawable(name)
    return name if len(name) <= _LONGEST_LABEL else f"{name[: _LONGEST_LABEL - 1]}…"


def _short_end(path: str) -> str:
    """Return the end of a path, which tells runs apart."""
    path = _drawable(path)
    return path if len(path) <= _LONGEST_PATH else f"…{path[-_LONGEST_PATH + 1 :]}"


def _drawable(name: str) -> str:
    """Replace what fonts lack and SVG forbids in a name: control characters, bytes that are not text."""
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in name)
