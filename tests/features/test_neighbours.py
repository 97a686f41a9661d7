"""The nearest of blocks are the nearest of all; the baseline is a plain weighted vote."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from ft_lightning.features import neighbours
from ft_lightning.features.neighbours import knn_baseline, nearest
from ft_lightning.readers.sample import Sample
from ft_lightning.tasks.multiclass import MultiClass


def test_the_nearest_are_those_of_brute_force_in_any_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    queries, keys = torch.randn(23, 6, generator=generator), torch.randn(57, 6, generator=generator)
    cosine = torch.nn.functional.cosine_similarity(queries[:, None], keys[None], dim=2)
    expected = cosine.topk(5, dim=1)
    for rows in (4096, 10, 3):
        monkeypatch.setattr(neighbours, "_ROWS", rows)
        similarity, found = nearest(queries, keys, 5)
        assert torch.equal(found, expected.indices)
        assert torch.allclose(similarity, expected.values, atol=1e-6)
    assert nearest(queries, keys[:3], 5)[1].shape == (23, 3)


def some_data(train: int, test: int) -> SimpleNamespace:
    generator = torch.Generator().manual_seed(0)
    targets = {split: torch.randint(0, 3, (n,), generator=generator) for split, n in (("train", train), ("test", test))}
    centres = torch.randn(3, 8, generator=generator)
    features = {s: centres[t] + 1.5 * torch.randn(len(t), 8, generator=generator) for s, t in targets.items()}
    return SimpleNamespace(
        task=MultiClass(["a", "b", "c"], [1, 1, 1]),
        features=features,
        served=features.get,
        targets=lambda split: targets[split],
        splits={
            s: [Sample("", f"{s}/{i}", "abc"[label], f"{s}{i}") for i, label in enumerate(t)]
            for s, t in targets.items()
        },
    )


def test_the_baseline_is_a_vote_of_twenty_weighted_by_similarity() -> None:
    data = some_data(80, 40)
    accuracy, table, *_ = knn_baseline(data)
    train, test = (data.features[s].numpy() for s in ("train", "test"))
    cosine = (test / np.linalg.norm(test, axis=1, keepdims=True)) @ (
        train / np.linalg.norm(train, axis=1, keepdims=True)
    ).T
    hits = 0
    for row, target in zip(cosine, data.targets("test").tolist(), strict=True):
        votes = np.zeros(3)
        for i in np.argsort(-row)[:20]:
            votes[data.targets("train")[i]] += np.exp(row[i] / 0.07)
        hits += votes.argmax() == target
    assert accuracy == hits / 40
    assert 0.4 < hits / 40 < 1
    assert table["neighbour"].tolist() == [f"train/{i}" for i in cosine.argmax(1)]
    assert table["label"].tolist() == ["abc"[data.targets("train")[i]] for i in cosine.argmax(1)]


def test_of_very_many_pairs_every_few_samples_are_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "_PAIRS", 1000)
    assert knn_baseline(some_data(80, 40))[1]["path"].tolist() == [f"test/{i}" for i in range(0, 40, 3)]


def test_without_stored_features_there_is_no_answer() -> None:
    data = some_data(8, 4)
    del data.features["train"]
    accuracy, table, *_ = knn_baseline(data)
    assert accuracy is None
    assert table.empty
