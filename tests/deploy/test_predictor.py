"""What a model answers where nothing is asked."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import torch

from ft_lightning.deploy.predictor import TrainedModel
from ft_lightning.readers.image_reader import ImageReader
from ft_lightning.readers.preprocess import Preprocess
from ft_lightning.system.errors import UserError
from ft_lightning.tasks.multiclass import MultiClass

READER = ImageReader(Preprocess((8,), (8, 8), "bilinear", (0.5,) * 3, (0.5,) * 3))
CARD = {"finetune": {"mode": "frozen"}, **MultiClass(["a", "b"], [1, 1]).to_dict()}


@pytest.fixture
def model() -> TrainedModel:
    network: Any = SimpleNamespace(backbone=SimpleNamespace(reader=READER, parameters=list), to=lambda device: None)
    return TrainedModel(network, CARD)


def test_no_input_is_no_row_with_all_columns(model: TrainedModel) -> None:
    table = model.predict([])
    assert table.columns.tolist() == ["path", "predicted", "probability", "p(a)", "p(b)", "error"]
    assert len(table) == 0
    assert model.predict([], abstain_below=0.0).columns.tolist() == [
        *("path", "predicted", "probability", "uncertain", "p(a)", "p(b)", "error"),
    ]


def test_a_threshold_that_is_none_and_a_loader_that_cannot_be_are_refused(model: TrainedModel) -> None:
    with pytest.raises(UserError, match=r"abstain_below=2: use a probability"):
        model.predict([], abstain_below=2)
    with pytest.raises(UserError, match=r"batch_size=0: use a number from 1"):
        model.predict([], batch_size=0)
    assert model.is_frozen


@pytest.mark.parametrize("name", ["caf\udce9.png", "half \ud83d"])
def test_names_that_are_no_utf_8_are_answered_beside_pyarrow_too(model: TrainedModel, name: str) -> None:
    pytest.importorskip("pyarrow")
    model.rows = lambda samples, *_, **__: (torch.zeros(1, 2), {0: "no such file"})  # type: ignore[assignment, method-assign]
    with pd.option_context("mode.string_storage", "pyarrow"):
        table = model.predict(Path(name))
    assert table["path"].tolist() == [name]
