"""How several tasks list names: in predictions.csv, and on the terminal."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ft_lightning.system.errors import printable

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


def some_of(names: Sequence[str]) -> str:
    """Return the first names, and how many more there are."""
    more = len(names) - _SHOWN
    return ", ".join(map(printable, names[:_SHOWN])) + (f", ... {more:,} more" if more > 0 else "")
