"""The baseline that counts words: TF-IDF and a linear model, which need no pretrained network."""

import logging
import warnings
from typing import Any

import torch
from torch import Tensor

from ft_lightning.data.protocol import Data
from ft_lightning.readers.words import words_of

_GRAMS = (1, 2)  # words, and pairs of neighbours
_MOST_WEIGHTS = 2_000_000  # of the linear model, for each of which the solver holds 25 numbers: 0.4 GB
_MOST_ANSWERS = 10_000_000  # texts times classes: about a minute
_C = 10.0  # of the L2 penalty: on the snippets 1, 3, 10 and 30 gave 0.768, 0.782, 0.789 and 0.788

log = logging.getLogger(__name__)


def tfidf_baseline(data: Data) -> Tensor | None:
    """Return what a linear model of TF-IDF features (Salton & Buckley, 1988) answers on test, as outputs (N, C).

    None if the samples are no texts, hold no words, or are too many of too many classes.
    """
    texts = {split: [sample.content for sample in data.splits[split]] for split in ("train", "test")}
    if data.reader.kind != "text" or any(content is None for those in texts.values() for content in those):
        return None
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.feature_extraction.text import TfidfVectorizer

    targets = data.targets("train")
    if not any(map(words_of, texts["train"])):  # emojis or signs alone
        return None
    width = targets.shape[1] if targets.ndim > 1 else int(targets.max()) + 1
    if len(targets) * width > _MOST_ANSWERS:
        log.warning("No TF-IDF as a baseline: %s texts of %s classes take too long.", f"{len(targets):,}", f"{width:,}")
        return None
    counts = TfidfVectorizer(analyzer=_grams, sublinear_tf=True, max_features=max(1, _MOST_WEIGHTS // width))
    train = counts.fit_transform(texts["train"])
    model = _model_for(targets)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.filterwarnings("ignore", "Label .* is present in all training examples")
        model.fit(train, targets.numpy())
    answer = model.predict_proba if hasattr(model, "predict_proba") else model.predict
    outputs = torch.from_numpy(answer(counts.transform(texts["test"]))).float()
    return outputs.reshape(len(outputs), -1)


def _model_for(targets: Tensor) -> Any:
    """Return a linear model for classes (N,), for several labels (N, C) of 0 and 1, or for numbers (N, K)."""
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.multiclass import OneVsRestClassifier

    classifier = LogisticRegression(C=_C, max_iter=1000)
    if not targets.is_floating_point():
        return classifier
    return OneVsRestClassifier(classifier) if ((targets == 0) | (targets == 1)).all() else Ridge(alpha=1.0)


def _grams(content: Any) -> list[str]:
    words = words_of(content)
    return [" ".join(words[at : at + n]) for n in range(_GRAMS[0], _GRAMS[1] + 1) for at in range(len(words) - n + 1)]
