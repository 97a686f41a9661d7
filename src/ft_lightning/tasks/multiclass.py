"""One class a sample, of several."""

from typing import Any

import pandas as pd
from torch import Tensor

ALL_CLASSES_UP_TO = 100  # above, a table lists the most probable classes only
TOP = 10


def prediction_table(
    names: list[str], logits: Tensor, class_names: list[str], labels: list[str] | None = None
) -> pd.DataFrame:
    """One row a sample: path, its label if known, predicted class and its probability, then p(class) for each class.

    Above 100 classes the ten most probable are listed instead, as class_1, p_1 ... class_10, p_10.

    Args:
        logits: (N, C), in the order of `names`.
        labels: the true classes, where they are known.
    """
    probabilities = logits.double().softmax(1)
    best, predicted = probabilities.max(1)
    columns: dict[str, Any] = {
        "path": names,
        **({"label": labels} if labels else {}),
        "predicted": [class_names[i] for i in predicted],
        "probability": best.numpy(),
    }
    if len(class_names) <= ALL_CLASSES_UP_TO:
        columns |= {f"p({name})": probabilities[:, i].numpy() for i, name in enumerate(class_names)}
    else:
        values, order = probabilities.topk(TOP)
        for rank in range(TOP):
            columns[f"class_{rank + 1}"] = [class_names[i] for i in order[:, rank]]
            columns[f"p_{rank + 1}"] = values[:, rank].numpy()
    return pd.DataFrame(columns)
