"""Labels that are numbers: reading and writing them, their strata, and intervals around predictions."""

import logging
import math
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ft_lightning.system.errors import UserError, name_few
from ft_lightning.tasks.label_sets import MISSING

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)

SEP = ";"  # between the numbers of a label, as this project writes it
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
_DECIMAL_COMMA = re.compile(r"([+-]?\d+),(\d+)", re.ASCII)
_THOUSANDS = re.compile(r"[+-]?\d{1,3}(?:[,.'’_ \u00a0\u2009\u202f]\d{3})+(?:[.,]\d+)?", re.ASCII)
_LARGEST = 1e30  # Lightning logs metrics as float32
_MISSING = (*MISSING, "na", "none", "nil", "missing", "unknown", "-", "?")
_BINS, _IN_A_BIN = 10, 10
LEVELS = (50, 60, 70, 80, 90, 95)  # % of intervals whose coverage is measured


def read_label(cells: str | Mapping[str, str], sep: str) -> str:
    """Return the numbers of a label as text, such as "3.5" or "1.5;2".

    Raises:
        ValueError: a cell is blank, or no finite number with a decimal point; its message is a phrase.
    """
    if isinstance(cells, str):
        return SEP.join(_written(part, f"{cells.strip()!r}: " if sep in cells else "") for part in cells.split(sep))
    return SEP.join(_written(cell, f"{column}: " if len(cells) > 1 else "") for column, cell in cells.items())


def _written(cell: str, where: str) -> str:
    """Return a number in the one way in which this project writes it: 3, 3.0 and 3e0 are "3"."""
    text = cell.strip()
    if not text:
        raise ValueError(f"{where}a blank beside numbers")
    value = float(text) if _NUMBER.fullmatch(text) else math.nan
    if not math.isfinite(value):
        raise ValueError(f"{where}{_complaint(text)}")
    return _text(value)


def _text(value: float) -> str:
    return repr(float(value) + 0.0).removesuffix(".0")  # + 0.0: there is no negative zero


def _complaint(text: str) -> str:
    """Say why a text is no number that can be read."""
    if comma := _DECIMAL_COMMA.fullmatch(text):
        whole, rest = comma.groups()
        either = f" or {whole}{rest}" if len(rest) == 3 and len(whole.lstrip("+-")) <= 3 else ""
        return f"{text!r} has a comma: write {whole}.{rest}{either}"
    if _THOUSANDS.fullmatch(text):
        return f"{text!r} has signs between its thousands: write the digits alone, and a decimal point"
    if text.lower() in _MISSING:
        return f"{text!r} is no number: leave the cell empty, and say data.empty_label=skip"
    if _NUMBER.fullmatch(text) or text.lower().lstrip("+-") in ("inf", "infinity"):
        return f"{text!r} is no finite number"
    return f"{text!r} is no number"


def values_of(labels: Sequence[str]) -> np.ndarray:
    """Return the numbers (N, K) of labels; raise UserError if they have unequally many."""
    rows = [label.split(SEP) for label in labels]
    by_count = {len(row): label for row, label in zip(rows, labels, strict=True)}
    if len(by_count) > 1:
        examples = " and ".join(f"{count} ({by_count[count]})" for count in sorted(by_count))
        raise UserError(f"The labels have unequally many numbers: {examples}. Give each sample as many.")
    return np.array(rows, dtype=np.float64).reshape(len(rows), -1)


def mean_and_sd(values: np.ndarray) -> tuple[list[float], list[float]]:
    """Return mean and standard deviation (K,) of numbers (N, K); raise UserError if they are too large or small."""
    with np.errstate(over="ignore", invalid="ignore"):
        mean, sd = values.mean(0), values.std(0)
    if not (np.abs([mean, sd]) < _LARGEST).all():
        raise UserError(f"The numbers of train go up to {abs(values).max():g}: write them in a larger unit.")
    if small := [float(one) for one in sd[(values != values[:1]).any(0)] if one < 1 / _LARGEST]:
        raise UserError(f"The numbers of train differ by {small[0]:g} only: write them in a smaller unit.")
    return mean.tolist(), sd.tolist()


def target_names(columns: Sequence[str], count: int) -> list[str]:
    """Return the names of `count` targets: the columns of `data.label`, or else value, or value_1, value_2 ..."""
    if twice := sorted({name for name in columns if list(columns).count(name) > 1}):
        raise UserError(f"data.label names {name_few(twice)} twice: name each column once.")
    if len(columns) == count:
        return list(columns)
    (name,) = columns if len(columns) == 1 else ["value"]
    return [name] if count == 1 else [f"{name}_{number}" for number in range(1, count + 1)]


def ordered(columns: Sequence[str], targets: Sequence[str]) -> Sequence[str]:
    """Return the columns in the order of a model's targets, by name; as many others are taken in the given order.

    Raises:
        UserError: they are other ones, or only some of the targets.
    """
    if set(columns) == set(targets) and len(columns) == len(targets):
        return targets
    if set(columns) & set(targets) or len(columns) != len(targets):
        wanted = f"data.label=[{','.join(targets)}]"
        raise UserError(f"data.label=[{','.join(columns)}]: this model predicts {name_few(targets)}: use {wanted}.")
    if len(columns) > 1:
        log.warning("data.label: %s are taken for %s, in this order.", name_few(columns), name_few(targets))
    return columns


def strata(values: np.ndarray) -> list[str]:
    """Return the stratum of each sample: the range of its value.

    Cuts at quantiles, into up to ten ranges of at least ten samples, never between equal values. Several targets are
    cut one after the other, each range of one by the next, into about ten in all.

    Args:
        values: (N, K).
    """
    each = max(2, round(_BINS ** (1 / values.shape[1]))) if values.shape[1] > 1 else _BINS
    names = [""] * len(values)
    _cut(values, np.arange(len(values)), each, names)
    return names


def _cut(values: np.ndarray, rows: np.ndarray, parts: int, names: list[str]) -> None:
    """Add the range of the first column to the names of these rows, and that of the others within it."""
    if not values.shape[1] or len(rows) == 0:
        return
    column, n = values[rows, 0], len(rows)
    found, first, counts = np.unique(np.sort(column), return_index=True, return_counts=True)
    bins = first * min(parts, max(1, n // _IN_A_BIN)) // n  # by the rank of the first of equal values
    groups, start, size = np.zeros(len(found), dtype=int), 0, 0
    for i, count in enumerate(counts):
        if bins[i] != bins[start] and size >= _IN_A_BIN and counts[i:].sum() >= _IN_A_BIN:
            start, size = i, 0
        groups[i], size = start, size + count
    own = groups[np.searchsorted(found, column)]
    for group in np.unique(own):
        inside, members = rows[own == group], found[groups == group]
        for row in inside:
            names[row] += f"{', ' if names[row] else ''}{_text(members[0])} to {_text(members[-1])}"
        _cut(values[:, 1:], inside, parts, names)


def bin_edges(values: np.ndarray, bins: int) -> np.ndarray:
    """Return the edges of equally wide bins of values (N,), or of one where these differ by too little for more."""
    try:
        return np.histogram_bin_edges(values, bins)
    except ValueError:  # of 1e15 and 1e15 + 1
        return np.array([np.nextafter(values.min(), -math.inf), np.nextafter(values.max(), math.inf)])


def half_widths(residuals: np.ndarray, percent: int) -> np.ndarray:
    """Return half the width (K,) of the split-conformal interval around a prediction, of residuals (N, K) on val.

    That is the ceil((N + 1) * percent / 100)-th smallest absolute residual (Lei et al., "Distribution-Free Predictive
    Inference for Regression", JASA 2018), or the largest where val is too small to have it (see `enough`).
    """
    n = len(residuals)
    rank = min(n, -(-(n + 1) * percent // 100))
    return np.sort(np.abs(residuals), axis=0)[rank - 1]


def enough(n: int, percent: int) -> bool:
    """Return whether n samples of val can promise that intervals hold `percent` % of the true values."""
    return -(-(n + 1) * percent // 100) <= n


def predicted_columns(targets: Sequence[str]) -> dict[str, str]:
    """Return the column of each target's predictions in predictions.csv; low and high follow the same rule."""
    return {target: f"predicted({target})" if len(targets) > 1 else "predicted" for target in targets}


def predictions_of(table: "pd.DataFrame") -> np.ndarray:
    """Return the predicted numbers (N, K) of predictions.csv, in the order of its targets."""
    columns = [name for name in table.columns if name == "predicted" or name.startswith("predicted(")]
    return table[columns].to_numpy(dtype=np.float64)


def worst(predictions: "pd.DataFrame", count: int) -> "pd.DataFrame":
    """Return the samples whose predictions are farthest from their labels, in standard deviations of those."""
    true = values_of(predictions["label"].tolist())
    spread = true.std(0)
    error = (np.abs(predictions_of(predictions) - true) / np.where(spread > 0, spread, 1)).mean(1)
    return predictions.iloc[np.argsort(-error, kind="stable")[:count]]


def check_card(about: Mapping[str, Any]) -> None:
    """Raise ValueError if the task in a model.json is not one of numbers."""
    targets = about["targets"]
    if not (isinstance(targets, list) and targets and all(isinstance(name, str) for name in targets)):
        raise ValueError("targets is not a list of names")
    for key, least in (("mean", -math.inf), ("sd", 0), ("half_width", 0)):
        if not (isinstance(about[key], list) and [type(value) for value in about[key]] == [float] * len(targets)):
            raise ValueError(f"{key} is not a list of one number for each target")
        if not all(least <= value < math.inf and (key != "sd" or value > 0) for value in about[key]):
            raise ValueError(f"{key} has a number that is none, or too small")
