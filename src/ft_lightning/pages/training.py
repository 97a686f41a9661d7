"""What the pages of all tasks say of a training: its epochs, and whether its samples are known to the model."""

from collections.abc import Callable
from typing import Any

import pandas as pd

from ft_lightning.pages import figures
from ft_lightning.pages.page import Section, number
from ft_lightning.runs.run import Run
from ft_lightning.tasks.registry import direction_of, title_of
from ft_lightning.tasks.selection import best_epoch


def training(run: Run, metric: str) -> list[Section]:
    """Build the section with the curves of the loss and a metric; none where there are no epochs, as of an evaluation.

    Args:
        metric: the task's own, such as accuracy.
    """
    history = run.table("metrics", missing_ok=True).apply(pd.to_numeric)
    if history.empty:
        return []
    curves = figures.training_curves(history, metric)
    return [Section("Training", best_epoch_said(run, history, metric), figures=[curves])]


def best_epoch_said(run: Run, history: pd.DataFrame, metric: str) -> str:
    """Say which epoch was kept; empty if none was validated."""
    monitor = str(run.config.get("monitor") or f"val/{metric}")
    mode = run.config.get("monitor_mode") or direction_of(monitor, run.task)
    best = best_epoch(history.to_dict("records"), monitor, mode)
    if best is None:
        return ""
    name, value = title_of(monitor.removeprefix("val/"), run.task), best[monitor]
    ties = int((history[monitor] == value).sum())
    shared = f" {ties} epochs share it: the loss on val decides." if ties > 1 else ""
    where = f"epoch {best['epoch'] + 1:.0f} (metrics.csv counts from 0)"
    return f"Best {name} on val in {where}: {number(value)}.{shared}"


def baselines(
    test: dict[str, Any], metric: str, shown: Callable[[float], str], how: str = "by", beside: str = ""
) -> str:
    """Say what baselines reach on test in a metric, to follow what another one reaches; empty without any.

    Args:
        how: they answer: by, or as, the most similar samples.
        beside: what stands before a number, such as "in ".
    """
    known = {
        "knn": f"answering {how} the most similar training samples, without any training,",
        "tfidf": "a linear model that counts words (TF-IDF)",
    }
    values = {what: test.get(f"{name}_{metric}") for name, what in known.items()}
    return "".join(f", {what} {beside}{shown(value)}" for what, value in values.items() if value is not None)


def flattered(metrics: dict[str, Any]) -> str:
    """Say that the model was trained on some of these samples; empty if not."""
    seen = metrics["data"].get("trained_on")
    return f" {seen:,} of these samples were in this model's train split: the numbers flatter it." if seen else ""
