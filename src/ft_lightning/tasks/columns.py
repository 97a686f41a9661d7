"""What the tables and messages of several tasks share."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ft_lightning.system.errors import UserError, printable

if TYPE_CHECKING:
    from torch import Tensor

ALL_UP_TO = 100  # names; above, a table lists the most probable ones only
TOP = 10
_SHOWN = 10  # on the terminal


def probabilities_by_name(names: Sequence[str], probabilities: "Tensor", noun: str) -> dict[str, Any]:
    """Return the column p(name) for each name, of probabilities (N, C).

    With more than 100 names only the ten most probable are listed, as <noun>_1, p_1 ... <noun>_10, p_10.
    """
    if len(names) <= ALL_UP_TO:
        return {f"p({name})": probabilities[:, i].numpy() for i, name in enumerate(names)}
    columns: dict[str, Any] = {}
    values, order = probabilities.topk(TOP)
    for rank in range(TOP):
        columns[f"{noun}_{rank + 1}"] = [names[i] for i in order[:, rank]]
        columns[f"p_{rank + 1}"] = values[:, rank].numpy()
    return columns


def probability(value: float, key: str) -> float:
    """Return a probability that a user gave; raise UserError if it is none."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not (is_number and 0 <= value <= 1):
        raise UserError(f"{key}={value}: use a probability from 0 to 1, such as 0.8.")
    return float(value)


def some_of(names: Sequence[str]) -> str:
    """Return the first names, and how many more there are."""
    more = len(names) - _SHOWN
    return ", ".join(map(printable, names[:_SHOWN])) + (f", ... {more:,} more" if more > 0 else "")
