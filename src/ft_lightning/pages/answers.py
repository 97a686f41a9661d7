"""The section with answers of a language model beside those of its base and the expected ones."""

from typing import Any

import pandas as pd
from markupsafe import Markup

from ft_lightning.pages.differences import compared, plain
from ft_lightning.pages.page import Section
from ft_lightning.pages.previews import Previews
from ft_lightning.runs.previews import Snippet
from ft_lightning.runs.run import Run
from ft_lightning.system.errors import number_of
from ft_lightning.tasks.instruct import METRICS, SHOWN

_DIGITS = 4


def beside_base(test: dict[str, Any]) -> pd.DataFrame | None:
    """Return a table of the metrics of a model, of its base, and of what they differ by; None without a base."""
    base, differences = test.get("base"), test.get("difference") or {}
    if not base:
        return None
    rows = []
    for metric in METRICS:
        name = metric.name
        if metric.shown and name in test:
            cells = [_with_interval(of, name) for of in (test, base)]
            rows.append([metric.column, *cells, _with_interval(differences, name, "+")])
    columns = ["on test", "this model", "its base", "difference on the same samples"]
    return pd.DataFrame(rows, columns=columns)


def table_of_answers(run: Run, metrics: dict[str, Any]) -> list[Section]:
    """Build the table of prompts and answers, the highest loss first; answers that were written before others."""
    predictions = run.table("predictions")
    if predictions.empty:
        return []
    numeric = [name for name in ("loss", "base_loss", "tokens") if name in predictions]
    predictions[numeric] = predictions[numeric].apply(pd.to_numeric)
    predictions["written"] = predictions["answer_tokens"] != "" if "answer_tokens" in predictions else False
    rows = predictions.sort_values(["written", "loss"], ascending=False, kind="stable").head(SHOWN)
    previews = Previews(run)
    names = {"": "this model", "base_": "its base"}
    written = {prefix: name for prefix, name in names.items() if f"{prefix}answer" in rows and rows["written"].any()}
    table = pd.DataFrame({"prompt": [_prompt(previews, name) for name in rows["path"]]})
    table["expected"] = [plain(label) for label in rows["label"]]
    for prefix, name in reversed(written.items()):
        table[name] = [_answer(row, prefix) for _, row in rows.iterrows()]
    for prefix, name in names.items():
        if f"{prefix}loss" in rows:
            table[f"loss, {name}"] = rows[f"{prefix}loss"].to_numpy().round(_DIGITS)
    table["sample"] = [plain(path) for path in rows["path"]]
    text = f"Those with the highest loss a token, of {number_of(len(predictions), 'test sample')}."
    if written:
        text += (
            " In answers what was not expected is marked, and what is missing is struck out; nothing of either: it is "
            "exact."
        )
    return [Section("Answers", text + _too_short(predictions, metrics), table=table)]


def _too_short(predictions: pd.DataFrame, metrics: dict[str, Any]) -> str:
    """Say how many expected answers are longer than those that may be written."""
    most = metrics["data"].get("max_new_tokens")
    written = predictions[predictions["written"]]
    long = int((written["tokens"] > most).sum()) if most else 0
    if not long:
        return ""
    return (
        f" {long:,} of {number_of(len(written), 'expected answer')} have more than task.max_new_tokens={most} tokens, "
        "which no written answer reaches: raise it."
    )


def _prompt(previews: Previews, name: str) -> Markup:
    shown = previews.of(name)
    return plain(shown.text if isinstance(shown, Snippet) else "")


def _answer(row: pd.Series, prefix: str) -> Markup:
    """Return the cell of an answer; one that was not written, or is empty, says so."""
    if row[f"{prefix}answer_tokens"] == "":
        return Markup("<i>not written</i>")
    answer, cut = row[f"{prefix}answer"], row[f"{prefix}stopped"] == "0"
    said = [*(["empty"] if not answer.strip() else []), *([f"cut after {row[f'{prefix}answer_tokens']} tokens"] * cut)]
    shown = compared(answer, row["label"]) if answer.strip() else Markup("")
    return shown + (Markup("<i>{}</i>").format(", ".join(said)) if said else Markup(""))


def _with_interval(found: dict[str, Any], name: str, sign: str = "") -> str:
    if found.get(name) is None:
        return ""
    bounds = found.get(f"{name}_ci95")
    form = f"{sign},.{_DIGITS}f"
    return f"{found[name]:{form}}" + (f" ({bounds[0]:{form}} to {bounds[1]:{form}})" if bounds else "")
