"""What is tried before the images are read."""

from functools import partial
from typing import Any

import pytest
from omegaconf import OmegaConf
from PIL import Image

from ft_lightning.cli import rehearsal
from ft_lightning.cli.rehearsal import _refuse_parts_of_an_epoch, augmentation
from ft_lightning.readers.image_reader import ImageReader
from ft_lightning.system.errors import UserError

COUNTS = {"train": 10, "val": 3, "test": 1}


@pytest.mark.parametrize(
    ("trainer", "said"),
    [
        ({}, ""),
        ({"limit_train_batches": 0.1, "limit_val_batches": 0.34, "limit_test_batches": 1.0}, ""),
        ({"limit_train_batches": 0.09}, "trainer.limit_train_batches=0.09: of 10 batches this leaves none"),
        ({"limit_val_batches": 0.3}, "trainer.limit_val_batches=0.3: of 3 batches this leaves none"),
        ({"limit_test_batches": 0.5}, "trainer.limit_test_batches=0.5: of 1 batch this leaves none"),
        ({"limit_val_batches": 50}, ""),
        ({"val_check_interval": 10}, ""),
        ({"val_check_interval": 11}, "trainer.val_check_interval=11: an epoch has 10 batches"),
        ({"val_check_interval": 0.5}, ""),
        ({"val_check_interval": 1.0}, ""),
    ],
)
def test_an_epoch_has_as_many_batches_as_are_asked_for(trainer: dict[str, Any], said: str) -> None:
    cfg = OmegaConf.create({"trainer": trainer})
    if not said:
        _refuse_parts_of_an_epoch(cfg, COUNTS)
        return
    with pytest.raises(UserError) as refused:
        _refuse_parts_of_an_epoch(cfg, COUNTS)
    assert str(refused.value).startswith(said)


def test_an_augmentation_is_tried_on_a_blank_image(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[object] = []

    def preprocess(image: Image.Image) -> None:
        tried.append(image.size)

    cfg = OmegaConf.create({"augment": {"_target_": "x"}})
    monkeypatch.setattr(rehearsal, "make", lambda cfg, key: lambda given: given)
    reader = ImageReader(preprocess)  # type: ignore[arg-type]
    assert augmentation(cfg, reader) is preprocess
    assert tried == [], "the preprocess itself is no augmentation"
    monkeypatch.setattr(rehearsal, "make", lambda cfg, key: partial)
    augmentation(cfg, reader)
    assert tried == [(64, 48)] * 3
