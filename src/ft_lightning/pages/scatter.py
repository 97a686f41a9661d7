"""Figures of predicted numbers: against the true ones, their errors, and how much intervals cover."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ft_lightning.pages.figures import BLUE, GREY, ORANGE, plain, short_name
from ft_lightning.tasks.numbers import bin_edges

_POINTS = 1000  # in a figure: with more the page grows, and points hide each other
_COLUMNS = 3  # figures of targets side by side
_BINS = 40

Pairs = Mapping[str, tuple[np.ndarray, np.ndarray]]  # by target: predicted and true numbers (N,)


def predicted_against_true(pairs: Pairs, half_width: Mapping[str, float]) -> Figure:
    """Plot predicted over true numbers, the diagonal, and the interval around it."""
    figure = _grid(len(pairs))
    for axes, (target, (predicted, true)) in zip(figure.axes, pairs.items(), strict=False):
        ends = np.array([min(predicted.min(), true.min()), max(predicted.max(), true.max())])
        axes.plot(ends, ends, color=GREY, lw=1, ls="--")
        if target in half_width:
            width = half_width[target]
            axes.fill_between(ends, ends - width, ends + width, color=ORANGE, alpha=0.15, lw=0)
        some = _some(len(true))
        axes.scatter(true[some], predicted[some], s=9, color=BLUE, alpha=0.6, lw=0)
        plain(axes, f"true {short_name(target)}", "predicted")
    return figure


def residuals(pairs: Pairs) -> Figure:
    """Plot how many samples have which error, predicted minus true."""
    figure = _grid(len(pairs))
    for axes, (target, (predicted, true)) in zip(figure.axes, pairs.items(), strict=False):
        off = predicted - true
        axes.hist(off, bins=bin_edges(off, _BINS).tolist(), color=BLUE)
        axes.axvline(0, color=GREY, lw=1, ls="--")
        plain(axes, f"predicted - true {short_name(target)}", "samples")
    return figure


def coverage_by_level(table: pd.DataFrame) -> Figure:
    """Plot the share of test samples within intervals over the share that these promise.

    Args:
        table: target, percent, coverage: report_data/coverage.csv.
    """
    figure = Figure(figsize=(4.6, 4.2), layout="constrained")
    axes = figure.subplots()
    axes.plot([0.4, 1], [0.4, 1], color=GREY, lw=1, ls="--")
    for target, rows in table.groupby("target", sort=False):
        axes.plot(rows["percent"] / 100, rows["coverage"], marker="o", ms=5, label=short_name(str(target)))
    plain(axes, "share that the interval promises", "share of test within it")
    if len(axes.lines) > 2:
        axes.legend(frameon=False, loc="upper left")
    return figure


def histograms(targets: Mapping[str, Mapping[str, Sequence[float]]]) -> Figure:
    """Plot how many samples of each split have which values.

    Args:
        targets: {target: {"edges": of bins, and by split: samples in each}}.
    """
    figure = _grid(len(targets))
    for axes, (target, counts) in zip(figure.axes, targets.items(), strict=False):
        edges = np.array(counts["edges"])
        below = np.zeros(len(edges) - 1)
        for split, colour in (("train", BLUE), ("val", ORANGE), ("test", GREY)):
            samples = np.array(counts.get(split, np.zeros(len(below))))
            axes.bar(edges[:-1], samples, np.diff(edges), bottom=below, align="edge", color=colour, label=split)
            below += samples
        plain(axes, short_name(target), "samples")
    figure.axes[0].legend(frameon=False)
    return figure


def _grid(count: int) -> Figure:
    """Make a figure with room for as many axes."""
    columns, rows = min(count, _COLUMNS), -(-count // _COLUMNS)
    figure = Figure(figsize=(4.2 * columns, 3.8 * rows), layout="constrained")
    for number in range(count):
        figure.add_subplot(rows, columns, number + 1)
    return figure


def _some(n: int) -> Sequence[int]:
    """Return at most so many positions of n, evenly spread."""
    return np.unique(np.linspace(0, n - 1, min(n, _POINTS)).astype(int)).tolist()
