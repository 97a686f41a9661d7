"""Labels of a sample as one text, such as "cat;dog": how it is read, split and compared."""

import logging
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ft_lightning.system.errors import UserError, name_few

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)

SEP = ";"  # between labels wherever this project writes them; no label holds it
_RARE = 10  # samples: a set of labels with fewer is split with its rarest label
_YES, _NO = ("1", "true"), ("0", "false")
MISSING = ("nan", "<na>", "null", "n/a", "#n/a")  # what programs write for no value
_MANY = 10  # classes that are numbers may be amounts
_BETWEEN = (SEP, ",", "|")  # what people put between labels


def read(cells: str | Mapping[str, str], sep: str) -> str:
    """Return the sorted labels of a text with `sep` between them, or of the columns that hold 1.

    Raises:
        ValueError: a column holds neither 0 nor 1, or its name could not be written.
    """
    if isinstance(cells, str):
        names = {part.strip() for text in cells.split(sep) for part in text.split(SEP)} - {""}
        return SEP.join(sorted(names))
    told = {name: re.sub(r"^([01])\.0*$", r"\1", cell.strip().lower()) for name, cell in cells.items()}
    if strange := [name for name, cell in told.items() if cell not in _YES + _NO]:
        cell = cells[strange[0]]
        said = (
            f"{cell!r} in {strange[0]} is neither 0 nor 1" if cell.strip() else f"{strange[0]} is blank: write 0 or 1"
        )
        raise ValueError(said)
    if odd := [name for name in cells if SEP in name]:
        raise ValueError(f"the column {odd[0]!r} holds {SEP}, which stands between labels")
    return SEP.join(sorted(name.strip() for name, cell in told.items() if cell in _YES))


def suspect(names: Sequence[str], noun: str, fix: str = "") -> None:
    """Warn if names of classes or labels look like something else: missing ones, amounts, lists, or sets of labels.

    Sets of labels hold what stands between labels, and share their parts.

    Args:
        noun: what the names are.
        fix: a key that makes labels of them, if data.label_sep alone does not.
    """
    if missing := [name for name in names if name.lower() in MISSING]:
        said = "if that stands for a missing one, leave the cell empty, and say data.empty_label=skip."
        log.warning("One of the %s is called %s: %s", noun, missing[0], said)
    if len(names) > _MANY and all(re.fullmatch(r"[+-]?\d+\.\d*[1-9]\d*", name) for name in names[: _MANY + 1]):
        log.warning("The %s are numbers (%s): if those are amounts, say task=regression.", noun, name_few(names))
        return
    if names and all(name.startswith("[") and name.endswith("]") for name in names):
        log.warning("The %s are lists (%s): if those are several labels each, write cat;dog.", noun, name_few(names))
        return
    for sep in _BETWEEN:
        several = [name for name in names if sep in name]
        parts = Counter(part.strip() for name in [*several, *names] for part in set(name.split(sep)))
        enough = any if sep == SEP else all  # commas stand in many a name
        shared = [name for name in several if enough(parts[part.strip()] > 2 for part in name.split(sep))]
        if 2 * len(several) > len(names) if sep == SEP and shared else 2 * len(shared) > max(2, len(several)):
            key = "" if sep == SEP else f"'data.label_sep=\"{sep}\"'"
            log.warning(
                "%d of %d %s hold a %s (%s): if those are several labels each, say %s.",
                *(len(several), len(names), noun, sep, name_few(several), " ".join(filter(None, [fix, key]))),
            )
            return


def refuse_lacking(columns: Sequence[str], names: Sequence[str]) -> None:
    """Raise UserError if columns of 0 and 1 are not those of all labels that a model knows."""
    if columns and (lacking := sorted(set(names) - {column.strip() for column in columns})):
        raise UserError(
            f"data.label=[{','.join(columns)}] lacks {name_few(lacking)}, which this model knows: use "
            f"data.label=[{','.join(names)}]."
        )


def names_in(label: str) -> list[str]:
    """Return the labels in a text; none in an empty one."""
    return label.split(SEP) if label else []


def strata(labels: Sequence[str]) -> list[str]:
    """Return each sample's set of labels or, where fewer than ten samples have that, its rarest label."""
    sets = Counter(labels)
    names = Counter(name for label in labels for name in names_in(label))
    stratum = {
        label: label if count >= _RARE or not label else min(names_in(label), key=lambda name: (names[name], name))
        for label, count in sets.items()
    }
    return [stratum[label] for label in labels]


def probabilities(predictions: "pd.DataFrame") -> "pd.DataFrame":
    """Return the columns p(label) of predictions.csv by label; none where it lists the most probable labels only."""
    columns = {name: name[2:-1] for name in predictions.columns if name.startswith("p(")}
    return predictions[list(columns)].astype(float).rename(columns=columns)


def has_each(labels: Iterable[str], names: Sequence[str]) -> np.ndarray:
    """Return whether each sample has each of these labels (N, L)."""
    held = [set(names_in(label)) for label in labels]
    return np.array([[name in those for name in names] for those in held], dtype=bool).reshape(len(held), len(names))


def check_card(about: Mapping[str, Any]) -> None:
    """Raise ValueError if the task in a model.json is not one of several labels."""
    names = about["label_names"]
    if not (isinstance(names, list) and names and all(isinstance(name, str) for name in names)):
        raise ValueError("label_names is not a list of names")
    for key, kind in (("label_counts", int), ("thresholds", float)):
        if [type(value) for value in about[key]] != [kind] * len(names):
            raise ValueError(f"{key} is not a list of one number for each label")
    if not all(0 <= threshold <= 1 for threshold in about["thresholds"]):
        raise ValueError("thresholds are not from 0 to 1")
    if not (isinstance(about["temperature"], int | float) and 0 < about["temperature"] < math.inf):
        raise ValueError("temperature is not a number above 0")
