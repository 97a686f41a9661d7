"""The sections of a run's page that depend on answers."""

from typing import Any

import pandas as pd

from ft_lightning.pages.page import Section
from ft_lightning.pages.training import flattered, training
from ft_lightning.runs.run import Run


def title(metrics: dict[str, Any]) -> str:
    """Return the page's title."""
    test = metrics["test"]
    if "exact_match" in test:
        return f"{test['exact_match']:.1%} of answers exact, on {test['answers']:,} questions of test"
    return f"Perplexity {test['perplexity']:.3g} on {test['n']:,} test samples"


def headline(metrics: dict[str, Any]) -> Section:
    """Build the section of the result beside the base model."""
    return Section("Result", flattered(metrics))


def counts(split: pd.DataFrame) -> pd.DataFrame:
    """Count the samples of each split, from the column split of split.csv."""
    return pd.crosstab(pd.Series("all", index=split.index, name="kind"), split["split"])


def sections(run: Run, metrics: dict[str, Any]) -> list[Section]:
    """Build the sections on training and answers."""
    return [*training(run, "perplexity")]
