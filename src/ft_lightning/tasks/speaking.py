"""How much an answer changes when parts of its sample are left out."""

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

_LOUD = 0.2  # of the change without the loudest part, from which one is marked
_LEAST = 0.02  # of the answer, that leaving out the loudest part must change


def loud(answers: "pd.DataFrame") -> np.ndarray:
    """Return the weight from 0 to 1 of each part (P,), by the answers for the whole and without each part (1 + P).

    Of an answer with probabilities counts how much less probable the likeliest name is without the part; of a number,
    how far away it is.
    """
    scores = answers[[column for column in answers.columns if column.startswith("p(")]].to_numpy(dtype=float)
    if scores.size:
        likeliest = scores[:, scores[0].argmax()]
        whole, change = likeliest[0], likeliest[0] - likeliest[1:]
    else:
        from pandas.api.types import is_numeric_dtype as is_numeric  # here, because --help must not wait for it

        numbers = answers.filter(regex=r"^predicted(\(|$)").iloc[:, :1]  # of several targets the first
        first = numbers.to_numpy().ravel() if numbers.dtypes.map(is_numeric).any() else np.zeros(len(answers))
        whole, change = first[0], np.abs(first[1:] - first[0])
    loudest = max(change, default=0.0)
    if not loudest > _LEAST * abs(whole):
        return np.zeros(len(change))
    return np.where(change >= _LOUD * loudest, change / loudest, 0.0)
