"""The metrics of answers: by token and by what is written, with intervals, beside those of the base model."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor

from ft_lightning.tasks.instruct import OWN, WIDTH, Instruct
from ft_lightning.tasks.intervals import difference_interval, resamples, wilson_interval
from ft_lightning.tasks.measure import refuse_non_finite

_SHARES = {"exact_match": WIDTH, "stop_rate": WIDTH + 1}  # column of a row
_TOKENS = WIDTH + 2
_LARGEST = 700.0  # a loss beyond it has no perplexity as a number


def epoch_metrics(rows: Tensor) -> dict[str, float]:
    """Compute the means over all tokens that are learnt, of rows (N, 3)."""
    refuse_non_finite(rows[:, :WIDTH])
    loss, tokens, right = rows[:, :WIDTH].double().sum(0).tolist()
    return {
        "loss": loss / tokens,
        "perplexity": math.exp(min(loss / tokens, _LARGEST)),
        "token_accuracy": right / tokens,
    }


def full_metrics(rows: Tensor) -> dict[str, Any]:
    """Compute all metrics of rows (N, 3, 6 or 12) with 95 % intervals, and the paired difference to the base.

    Intervals are by bootstrap over samples, not over tokens: those of one answer depend on each other. Shares have
    Wilson's, whose width is not zero where all answers are alike.
    """
    measured = _measured(rows[:, :OWN])
    if rows.shape[1] == 2 * OWN:
        measured |= {"base": _measured(rows[:, OWN:]), "difference": _difference(rows[:, :OWN], rows[:, OWN:])}
    return measured


def _measured(rows: Tensor) -> dict[str, Any]:
    measured: dict[str, Any] = {"n": len(rows), **epoch_metrics(rows), "tokens": int(rows[:, 1].sum())}
    values = rows.double().numpy()
    bounds = _bootstrap(lambda draws: _mean_loss(draws, values), len(values))
    measured |= {"loss_ci95": bounds, "perplexity_ci95": [math.exp(min(bound, _LARGEST)) for bound in bounds]}
    written = _written(rows)
    if written is None:
        return measured
    n, chosen = len(written), written.double().numpy()
    for name, column in _SHARES.items():
        count = int(chosen[:, column].sum())
        measured |= {name: count / n, f"{name}_ci95": wilson_interval(count, n)}
    tokens = chosen[:, _TOKENS]
    bounds = _bootstrap(lambda draws: draws @ tokens / n, n)
    return measured | {"answer_tokens": float(tokens.mean()), "answer_tokens_ci95": bounds, "answers": n}


def _difference(own: Tensor, base: Tensor) -> dict[str, Any]:
    """Return own minus base on the same samples, with 95 % intervals."""
    mine, other = own.double().numpy(), base.double().numpy()
    bounds = _bootstrap(lambda draws: _mean_loss(draws, mine) - _mean_loss(draws, other), len(mine))
    every = np.ones((1, len(mine)))
    loss = float((_mean_loss(every, mine) - _mean_loss(every, other))[0])
    found: dict[str, Any] = {"loss": loss, "loss_ci95": bounds}
    written, of_base = _written(own), _written(base)
    if written is None or of_base is None:
        return found
    for name, column in _SHARES.items():
        one, two = written[:, column].bool(), of_base[:, column].bool()
        only = int((one & ~two).sum()), int((two & ~one).sum())
        found |= {name: (only[0] - only[1]) / len(one), f"{name}_ci95": list(difference_interval(*only, len(one)))}
    return found


def _written(rows: Tensor) -> Tensor | None:
    """Return the rows of the samples for which an answer was written; None if there are none."""
    if rows.shape[1] < OWN:
        return None
    chosen = rows[~rows[:, WIDTH].isnan()]
    return chosen if len(chosen) else None


def _mean_loss(draws: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return the loss of a token (R,) in resamples that hold the samples so often: draws (R, N)."""
    return (draws @ values[:, 0]) / (draws @ values[:, 1])


def _bootstrap(measure: Callable[[np.ndarray], np.ndarray], n: int) -> list[float]:
    return np.percentile(np.concatenate([measure(draws) for draws in resamples(n)]), [2.5, 97.5]).tolist()


def answers_table(task: Instruct, names: Sequence[str], rows: Tensor, labels: Sequence[str] | None) -> pd.DataFrame:
    """Return one row a sample: what was expected and written, and the losses; see `Instruct.table`."""
    columns: dict[str, Any] = {"path": names, **({"label": labels} if labels is not None else {})}
    values, several = rows.double().numpy(), rows.shape[1] == 2 * OWN
    for prefix, start in (("", 0), ("base_", OWN))[: 1 + several]:
        if rows.shape[1] >= OWN:
            written = [task.answers.get(name) for name in names]
            columns[f"{prefix}answer"] = [each[start // OWN] if each else None for each in written]
            for name, column in (("exact", WIDTH), ("stopped", WIDTH + 1), ("answer_tokens", WIDTH + 2)):
                columns[f"{prefix}{name}"] = pd.array(values[:, start + column], dtype="Float64").astype("Int64")
        columns[f"{prefix}loss"] = values[:, start] / values[:, start + 1]
    return pd.DataFrame(columns | {"tokens": values[:, 1].astype(int)})
