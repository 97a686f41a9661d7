"""The figure of a language model's training: its loss by the tokens that it has learnt."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ft_lightning.pages.figures import BLUE, GREY, plain


def token_curves(curve: pd.DataFrame, history: pd.DataFrame, base: float | None) -> Figure:
    """Plot loss and token accuracy of train and val by the tokens that were learnt before, and by epochs above.

    Args:
        curve: report_data/curve.csv: tokens, loss of train within epochs; older runs have none.
        history: metrics.csv, with train/tokens of each epoch; without it the axis is that of epochs.
        base: loss of the base model on val.
    """
    epochs = history["epoch"].to_numpy() + 1
    counted = "train/tokens" in history and history["train/tokens"].notna().all()
    tokens = history["train/tokens"].cumsum().to_numpy() if counted else epochs
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    for axes, name in zip(figure.subplots(1, 2), ("loss", "token_accuracy"), strict=True):
        for split, colour in (("train", GREY), ("val", BLUE)):
            x, y = tokens, history.get(f"{split}/{name}", pd.Series(np.nan, history.index)).to_numpy(float)
            marker = "o" if len(x) < 40 else ""
            if name == "loss" and split == "train" and counted and not curve.empty:
                x, y, marker = curve["tokens"].to_numpy(), curve["loss"].to_numpy(), ""
            if name == "loss" and split == "val" and base is not None:
                x, y = np.append(0, x), np.append(base, y)
            known = np.isfinite(y)
            axes.plot(x[known], y[known], color=colour, label=split, marker=marker, ms=3)
        plain(axes, "tokens learnt" if counted else "epoch", name.replace("_", " "))
        axes.legend(frameon=False)
        axes.set_xlim(left=0)
        if counted:
            axes.xaxis.set_major_formatter("{x:,.0f}")
            axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
            _epochs_above(axes, epochs, tokens)
    return figure


def _epochs_above(axes: Axes, epochs: np.ndarray, tokens: np.ndarray) -> None:
    """Name the ends of epochs above the axis, at most some of them."""
    above = axes.secondary_xaxis("top")
    some = np.unique(np.linspace(0, len(epochs) - 1, min(len(epochs), 6)).astype(int))
    above.set_xticks(tokens[some], [f"{epoch:.0f}" for epoch in epochs[some]])
    above.set_xlabel("epoch", color=GREY, fontsize=8)
    above.tick_params(labelsize=8, color=GREY)
    above.spines["top"].set_visible(False)
