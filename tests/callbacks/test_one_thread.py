"""A head on stored features trains in one thread, a backbone in all."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from ft_lightning import build
from ft_lightning.cli.compose import compose
from ft_lightning.runs.write import Stopwatch

TINY = ["model=timm", "model.name=test_resnet", "model.weights=null", "precision=32-true", "data.num_workers=0"]


class Threads(Callback):
    """Notes how many threads torch has while a batch of each split is computed."""

    def __init__(self, fails: bool = False) -> None:
        self.seen: dict[str, set[int]] = {}
        self.fails = fails

    def _note(self, split: str) -> None:
        self.seen.setdefault(split, set()).add(torch.get_num_threads())

    def on_train_batch_start(self, *_: Any) -> None:
        self._note("train")
        if self.fails:
            raise ZeroDivisionError

    def on_validation_batch_start(self, *_: Any) -> None:
        self._note("val")

    def on_test_batch_start(self, *_: Any) -> None:
        self._note("test")


@pytest.fixture
def three_threads() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def fitted(pictures: Path, tmp_path: Path, seen: Threads, *overrides: str) -> tuple[Trainer, LightningModule, Any]:
    words = [f"data.root={pictures}", f"cache.dir={tmp_path / 'cache'}", "trainer.max_epochs=2", *TINY, *overrides]
    cfg = compose("train", "trainer.enable_progress_bar=false", *words)
    data = build.data(cfg)
    module = build.module(cfg, data, build.pretrained(cfg))
    stored = build.stored_features(cfg, ["train", "val", "test"], Stopwatch(), quiet=True)
    trainer = build.trainer(cfg, [stored, seen], run_dir=None)
    trainer.fit(module, datamodule=data)  # type: ignore[arg-type]
    return trainer, module, data


@pytest.mark.promise(38)
@pytest.mark.parametrize(
    ("overrides", "train", "val"),
    [
        ([], 1, 1),
        (["optimizer=sgd", "head=mlp"], 1, 1),
        (["augment=light"], 3, 1),
        (["trainer.limit_val_batches=1"], 1, 3),
        (["cache.enabled=false"], 3, 3),
        (["finetune=partial"], 3, 3),
        (["optimizer=lbfgs"], 3, 1),  # one batch of all samples
    ],
)
def test_epochs_on_stored_features_take_one_thread_and_live_ones_all(
    overrides: list[str], train: int, val: int, pictures: Path, tmp_path: Path, three_threads: None
) -> None:
    seen = Threads()
    trainer, module, data = fitted(pictures, tmp_path, seen, *overrides)
    assert torch.get_num_threads() == 3
    trainer.test(module, datamodule=data, verbose=False)
    assert seen.seen == {"train": {train}, "val": {val}, "test": {1 if val == 1 or "limit_val" in overrides[0] else 3}}
    assert torch.get_num_threads() == 3


@pytest.mark.promise(38)
def test_a_training_that_fails_gives_the_threads_back(pictures: Path, tmp_path: Path, three_threads: None) -> None:
    with pytest.raises(ZeroDivisionError):
        fitted(pictures, tmp_path, Threads(fails=True))
    assert torch.get_num_threads() == 3
