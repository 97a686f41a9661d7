"""Which answers a run's page shows."""

from typing import TYPE_CHECKING

import numpy as np

from ft_lightning.tasks.label_sets import SEP, has_each, names_in, probabilities

if TYPE_CHECKING:
    import pandas as pd

_SAMPLES_SHOWN = 24  # in each list


def worst_errors(predictions: "pd.DataFrame") -> "pd.DataFrame":
    """Return the wrong answers with the highest probability."""
    wrong = predictions[predictions["label"] != predictions["predicted"]]
    return wrong.sort_values("probability", ascending=False, kind="stable").head(_SAMPLES_SHOWN)


def least_certain(predictions: "pd.DataFrame") -> "pd.DataFrame":
    """Return the answers with the lowest probability, right or wrong."""
    return predictions.sort_values("probability", kind="stable").head(_SAMPLES_SHOWN)


def worst_sets(predictions: "pd.DataFrame") -> "pd.DataFrame":
    """Return the wrong answers, those with the highest loss first, with the columns missed, extra and loss."""
    labels, answers = (predictions[name].fillna("").map(names_in) for name in ("label", "predicted"))
    pairs = [(set(label), set(answer)) for label, answer in zip(labels, answers, strict=True)]
    scores = probabilities(predictions)
    of_the_truth = np.where(has_each(predictions["label"], scores.columns.tolist()), scores, 1 - scores)
    found = predictions.assign(
        missed=[SEP.join(sorted(label - answer)) for label, answer in pairs],
        extra=[SEP.join(sorted(answer - label)) for label, answer in pairs],
        loss=-np.log(of_the_truth.clip(1e-12)).sum(1),
    )
    found = found[(found["missed"] != "") | (found["extra"] != "")]
    return found.sort_values("loss", ascending=False, kind="stable").head(_SAMPLES_SHOWN)
