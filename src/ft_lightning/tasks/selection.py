"""The rule by which epochs, L2 strengths, trials and runs are chosen: the value on val, then the loss on val."""

import math
from collections.abc import Iterable, Mapping
from typing import Any


def rank(value: float | None, loss: float | None, direction: str | None) -> tuple[float, float]:
    """Return a sort key, smallest for the best candidate: by value, equal values by the lower loss.

    Candidates equal in both keep their order with `min` and `sorted`: list the simpler or earlier one first. Numbers
    are equal if they agree in six digits, because the last digit of a float32 depends on the order of its sums.

    Args:
        value: the monitored value on val; a missing or non-finite one comes last, as does such a loss.
        loss: the loss on val.
        direction: "max" or "min": which values are better.
    """
    sign = -1 if direction == "max" else 1
    return _comparable(value, sign), _comparable(loss, 1)


def best_epoch(rows: Iterable[Mapping[Any, Any]], monitor: str, direction: str | None) -> Mapping[Any, Any] | None:
    """Return the best row of metrics.csv; None if no epoch was validated."""
    validated = [row for row in rows if math.isfinite(row.get(monitor, math.nan))]
    return min(validated, key=lambda row: rank(row[monitor], row.get("val/loss"), direction), default=None)


def share_best(ranks: Iterable[tuple[float, float]]) -> int:
    """Return how many candidates share the best value; 0 if none has a value."""
    values = [value for value, _ in ranks if math.isfinite(value)]
    return values.count(min(values)) if values else 0


def _comparable(value: float | None, sign: int) -> float:
    return sign * float(f"{value:.6g}") if value is not None and math.isfinite(value) else math.inf
