"""The sections of a run's page that depend on answers."""

from typing import Any

import pandas as pd

from ft_lightning.pages.answers import beside_base, table_of_answers
from ft_lightning.pages.page import Section, number, rounded
from ft_lightning.pages.rendered import rendered
from ft_lightning.pages.token_curves import token_curves
from ft_lightning.pages.training import best_epoch_said, flattered
from ft_lightning.runs.run import Run

_TRY = "more epochs (trainer.max_epochs), a higher finetune.rank, or another optimizer.lr"


def title(metrics: dict[str, Any]) -> str:
    """Return the page's title."""
    test = metrics["test"]
    if "exact_match" in test:
        return f"{test['exact_match']:.1%} of answers exact, on {test['answers']:,} questions of test"
    return f"Perplexity {test['perplexity']:.3g} on {test['n']:,} test samples"


def headline(metrics: dict[str, Any]) -> Section:
    """Build the section of the result beside the base model."""
    test = metrics["test"]
    said = [_written(test), _perplexity(test), _better(test) if "val" in metrics else ""]
    text = " ".join(filter(None, said)) + flattered(metrics)
    return Section("Result", text, table=beside_base(test))


def counts(split: pd.DataFrame) -> pd.DataFrame:
    """Count the samples of each split, from the column split of split.csv."""
    return pd.crosstab(pd.Series("conversations", index=split.index, name="kind"), split["split"])


def sections(run: Run, metrics: dict[str, Any]) -> list[Section]:
    """Build the sections on what is read, on answers, on the training and on what it cost."""
    return [*rendered(metrics["data"]), *table_of_answers(run, metrics), *_training(run, metrics), *_cost(run, metrics)]


def _written(test: dict[str, Any]) -> str:
    """Say how many answers were as expected and came to their end."""
    if "exact_match" not in test:
        return "No answers were written: what is measured is how well the expected ones are predicted."
    base = test.get("base") or {}
    text = f"Of {test['answers']:,} answers that the model wrote to questions of test, "
    shares = []
    for name, what in (("exact_match", "are exactly what was expected"), ("stop_rate", "end by themselves")):
        low, high = test[f"{name}_ci95"]
        of_base = f"; its base: {base[name]:.1%}" if name in base else ""
        shares.append(f"{test[name]:.1%} {what} (95 % interval {low:.1%} to {high:.1%}{of_base})")
    return f"{text}{' and '.join(shares)}."


def _perplexity(test: dict[str, Any]) -> str:
    low, high = test["perplexity_ci95"]
    base = test.get("base")
    of_base = f"; its base's is {rounded(base['perplexity'])}" if base else ""
    return (
        f"The perplexity of the expected answers is {rounded(test['perplexity'])} ({rounded(low)} to {rounded(high)}"
        f"{of_base}): at each token the model hesitates as among so many equally likely ones."
    )


def _better(test: dict[str, Any]) -> str:
    """Say what is not better than in the base model by more than chance, and what to try then."""
    differences = test.get("difference") or {}
    worse = []
    for name, what, sign in (("loss", "loss", -1), ("exact_match", "exact match", 1), ("stop_rate", "stop rate", 1)):
        bounds = differences.get(f"{name}_ci95")
        if not bounds or (name == "stop_rate" and test["base"][name] == test[name] == 1):
            continue
        if sign * bounds[0 if sign > 0 else 1] <= 0:
            worse.append(f"{what} ({bounds[0]:+.4f} to {bounds[1]:+.4f})")
    if not worse:
        return ""
    return (
        f"This model is not better than its base, by more than chance, in {', '.join(worse)} (95 % interval of the "
        f"difference on the same samples): try {_TRY}."
    )


def _training(run: Run, metrics: dict[str, Any]) -> list[Section]:
    history = run.table("metrics", missing_ok=True).apply(pd.to_numeric)
    if history.empty:
        return []
    curve = run.table("curve", missing_ok=True).apply(pd.to_numeric)
    figure = token_curves(curve, history, (metrics["val"].get("base") or {}).get("loss"))
    text = "By tokens that were learnt; val begins with the base model. " + best_epoch_said(run, history, "loss")
    return [Section("Training", text.rstrip(), figures=[figure])]


def _cost(run: Run, metrics: dict[str, Any]) -> list[Section]:
    timing = metrics["timing"]
    memory = timing.get("memory") or {}
    history = run.table("metrics", missing_ok=True)
    facts = {}
    if "train/tokens" in history and timing.get("fit_s"):
        tokens = pd.to_numeric(history["train/tokens"]).sum()
        facts = {
            "tokens learnt": f"{tokens:,.0f}",
            "tokens learnt a second": number(float(tokens / timing["fit_s"])),
            "samples a second": number(timing.get("images_per_s")),
        }
    names = {"process": "most memory of the process", "gpu": "most memory of the GPU"}
    facts |= {title: f"{memory[name] / 2**30:.2f} GB" for name, title in names.items() if memory.get(name)}
    if not facts:
        return []
    text = "Of the training; a second counts the epochs with their validation, not the answers that were written."
    return [Section("What it cost", text if "tokens learnt" in facts else "", facts)]
