"""The LightningModule knows no pixels: a tiny backbone of tokens trains, is measured and saved as pictures are."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from lightning import LightningDataModule, Trainer
from lightning.pytorch.callbacks import Callback, EarlyStopping
from torch import Tensor, nn
from torch.utils.data import DataLoader, default_collate

from ft_lightning.callbacks.finite import Finite
from ft_lightning.deploy import model_dir
from ft_lightning.features.extract import Computing
from ft_lightning.finetune import freeze_plan
from ft_lightning.heads import build_head
from ft_lightning.model import Classifier
from ft_lightning.module import FineTuner
from ft_lightning.optim import constant
from ft_lightning.readers.sample import Inspection, Sample
from ft_lightning.system.errors import NumericalError, UserError
from ft_lightning.tasks.multiclass import MultiClass

WORDS, LENGTH, CLASSES = 20, 6, 3
TASK = MultiClass(["noun", "verb", "adverb"], [40, 40, 40])


@dataclass(frozen=True)
class Tokens:
    """Reads a sample whose path is a row of token numbers."""

    words: int

    def inspect(self, sample: Sample) -> tuple[dict[str, Tensor], Inspection]:
        tokens = torch.tensor([int(word) for word in sample.path.split()], dtype=torch.int32)
        mask = torch.zeros(LENGTH, dtype=torch.uint8)
        mask[0] = 1
        return {"tokens": tokens, "mask": mask}, Inspection(0, 0, "", "", True)

    def collate(self, items: list[Any]) -> Any:
        return default_collate(items)

    kind: ClassVar[str] = "tokens"
    libraries: ClassVar[tuple[str, ...]] = ("torch",)

    def adapted(self, keys: Mapping[str, Any]) -> "Tokens":
        return self

    def lengths(self, samples: Sequence[Sample]) -> None:
        return None

    def files(self) -> dict[str, bytes]:
        return {}

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class TokenIdentity:
    source: str
    name: str


class TokenBackbone(nn.Module):
    """Token numbers and a mask -> the mean of their vectors: the smallest text model there is."""

    blocks = (("embed",), ("mix",))
    feature_dim = 8

    def __init__(self) -> None:
        super().__init__()
        self.network = nn.ModuleDict(
            {"embed": nn.Embedding(WORDS, 8), "mix": nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.5))}
        )
        self.reader = Tokens(WORDS)
        self.identity = TokenIdentity("mine", "tokens")

    def prepare(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"tokens": inputs["tokens"].long(), "mask": inputs["mask"].float()}

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        mixed = self.network["mix"](self.network["embed"](inputs["tokens"]))  # (B, L, 8)
        return (mixed * inputs["mask"][..., None]).sum(1) / inputs["mask"].sum(1, keepdim=True)


class Sentences(LightningDataModule):
    """Sentences of one word, padded, whose class is the remainder of its number."""

    def rows(self, n: int, seed: int) -> list[dict[str, Any]]:
        generator = torch.Generator().manual_seed(seed)
        tokens = torch.randint(0, WORDS, (n, LENGTH), generator=generator).to(torch.int32)
        mask = torch.zeros(n, LENGTH, dtype=torch.uint8)
        mask[:, 0] = 1
        return [
            {"inputs": {"tokens": t, "mask": m}, "target": int(t[0]) % CLASSES, "index": i, "error": ""}
            for i, (t, m) in enumerate(zip(tokens, mask, strict=True))
        ]

    def train_dataloader(self) -> DataLoader:
        return DataLoader(self.rows(120, 0), batch_size=16)

    def val_dataloader(self) -> DataLoader:
        return DataLoader(self.rows(30, 1), batch_size=16)

    def test_dataloader(self) -> DataLoader:
        return DataLoader(self.rows(30, 2), batch_size=7)


def finetuner(mode: str, lr: float = 0.05) -> FineTuner:
    torch.manual_seed(0)
    backbone, head = TokenBackbone(), build_head("mlp", 8, CLASSES, hidden=16, dropout=0.1)
    classifier = Classifier(
        backbone, head, freeze_plan(backbone, head, mode, 1 if mode == "partial" else None, freeze_bn=True)
    )
    adam = partial(torch.optim.Adam, lr=lr)
    return FineTuner(classifier, TASK, nn.CrossEntropyLoss(), adam, constant, mix=None, backbone_lr_factor=0.1, seed=0)


def trainer(**options: Any) -> Trainer:
    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    return Trainer(accelerator="cpu", devices=1, num_sanity_val_steps=0, **quiet | {"max_epochs": 5} | options)


@pytest.mark.promise(10)
@pytest.mark.parametrize("mode", ["frozen", "partial", "full"])
def test_tokens_train_are_measured_and_come_back_from_a_model_directory(mode: str, tmp_path: Path) -> None:
    data, module = Sentences(), finetuner(mode)
    fit = trainer()
    fit.fit(module, datamodule=data)
    fit.test(module, datamodule=data, verbose=False)
    index, logits, targets = module.outputs["test"]
    assert index.tolist() == list(range(30))
    metrics = TASK.metrics(logits, targets, full=True)
    assert metrics["n"] == 30
    assert metrics["accuracy"] == pytest.approx(fit.callback_metrics["test/accuracy"].item())

    head = {"name": "mlp", "hidden": 16, "dropout": 0.1}
    model_dir.save(tmp_path / "model", module.classifier, head, TASK, {"val": {}, "test": metrics}, rebuild)
    model = model_dir.load(tmp_path / "model", rebuild)
    typed = [" ".join(map(str, row["inputs"]["tokens"].tolist())) for row in data.rows(30, 2)]
    how = Computing.chosen(Tokens(WORDS), "cpu", "32-true", num_workers=0)
    again, errors = model.rows(list(map(Sample.unlabelled, typed)), how, batch_size=7)
    assert not errors
    assert torch.allclose(again, logits, atol=1e-5)
    assert model.task == TASK
    assert model.predict(typed)["predicted"].tolist() == [TASK.class_names[i] for i in logits.argmax(1)]


def rebuild(identity: dict[str, Any], preprocess: dict[str, Any]) -> TokenBackbone:
    assert (identity, preprocess) == ({"source": "mine", "name": "tokens"}, {"words": WORDS})
    return TokenBackbone()


def test_training_learns_what_can_be_learned() -> None:
    module = finetuner("full", lr=0.05)
    module.backbone_lr_factor = 1.0
    fit = trainer(max_epochs=40)
    fit.fit(module, datamodule=Sentences())
    assert 0.9 < fit.callback_metrics["train/accuracy"] <= 1
    assert fit.callback_metrics["train/loss"] < 0.5
    assert set(fit.progress_bar_metrics) == {"train/loss", "val/accuracy"}


@pytest.mark.parametrize("drop_last", [False, True])
def test_what_is_said_of_training_is_a_mean_over_samples(drop_last: bool) -> None:
    module, rows = finetuner("frozen", lr=0.0), Sentences().rows(11, 5)
    module.classifier.head.eval()
    fit = trainer(max_epochs=1)
    module.classifier.train = lambda mode=True: module.classifier  # type: ignore[method-assign]  # no dropout
    fit.fit(module, DataLoader(rows, batch_size=4, drop_last=drop_last), DataLoader(rows[:2], batch_size=2))
    rows = rows[:8] if drop_last else rows
    with torch.no_grad():
        logits = torch.stack([module({k: v[None] for k, v in row["inputs"].items()})[0] for row in rows])
    targets = torch.tensor([row["target"] for row in rows])
    right = (logits.argmax(1) == targets).float().mean()
    assert fit.callback_metrics["train/accuracy"].item() == pytest.approx(right.item())
    assert fit.callback_metrics["train/loss"].item() == pytest.approx(
        nn.functional.cross_entropy(logits, targets).item(), rel=1e-5
    )


@pytest.mark.parametrize(("waited", "ended_in", "stopped"), [(2, 0, False), (3, 0, True), (4, 0, True), (0, 5, True)])
def test_a_checkpoint_says_whether_early_stopping_has_ended_the_run(waited: int, ended_in: int, stopped: bool) -> None:
    module, stopping = finetuner("frozen"), EarlyStopping("val/loss", patience=3)
    fit = trainer(max_epochs=1, callbacks=[stopping])
    fit.fit(module, datamodule=Sentences())
    stopping.wait_count, stopping.stopped_epoch = waited, ended_in
    checkpoint = {"state_dict": module.state_dict()}
    module.on_save_checkpoint(checkpoint)
    assert checkpoint["stopped"] == stopped


class CallTrain(Callback):
    """What a careless callback does."""

    def on_train_batch_start(self, trainer: Trainer, module: FineTuner, *args: Any) -> None:
        module.train()
        module.classifier.backbone.network.train()

    on_validation_batch_start = on_train_batch_start


@pytest.mark.promise(1)
def test_the_frozen_part_survives_fit_validation_and_a_callback_that_calls_train() -> None:
    module = finetuner("partial")
    plan = module.classifier.plan
    before = {name: value.clone() for name, value in plan.frozen_state(module.classifier.state_dict()).items()}
    trainer(callbacks=[CallTrain()], max_epochs=2).fit(module, datamodule=Sentences())
    after = module.classifier.state_dict()
    assert before
    assert all(torch.equal(after[name], value) for name, value in before.items())


@pytest.mark.promise(4)
@pytest.mark.parametrize("n", [1, 7, 8])
@pytest.mark.parametrize("size", [1, 3, 7])
def test_accuracy_equals_a_plain_count_for_any_batch_size(n: int, size: int) -> None:
    module, rows = finetuner("frozen"), Sentences().rows(n, 5)
    fit = trainer()
    fit.test(module, DataLoader(rows, batch_size=size), verbose=False)
    module.eval()
    right = sum(int(module({k: v[None] for k, v in row["inputs"].items()}).argmax()) == row["target"] for row in rows)
    assert fit.callback_metrics["test/accuracy"].item() == pytest.approx(right / n)


@pytest.mark.promise(5)
def test_samples_that_fill_up_a_batch_are_counted_once() -> None:
    module, rows = finetuner("frozen"), Sentences().rows(7, 5)
    trainer().test(module, DataLoader([*rows, rows[0], rows[3]], batch_size=4), verbose=False)
    index, logits, targets = module.outputs["test"]
    assert index.tolist() == list(range(7))
    assert targets.tolist() == [row["target"] for row in rows]
    assert logits.shape == (7, CLASSES)


def test_a_checkpoint_holds_the_trained_part_and_refuses_another_one(tmp_path: Path) -> None:
    module = finetuner("partial")
    fit = trainer(max_epochs=1)
    fit.fit(module, datamodule=Sentences())
    fit.save_checkpoint(tmp_path / "x.ckpt", weights_only=False)
    checkpoint = torch.load(tmp_path / "x.ckpt", weights_only=True)
    assert checkpoint["state_dict"].keys() == {f"classifier.{name}" for name in module.classifier.plan.trainable}
    fresh = finetuner("partial")
    trainer().test(fresh, datamodule=Sentences(), ckpt_path=tmp_path / "x.ckpt", verbose=False)
    assert all(torch.equal(a, b) for a, b in zip(fresh.parameters(), module.parameters(), strict=True))
    with pytest.raises(UserError, match="holds another trained part"):
        trainer().test(finetuner("full"), datamodule=Sentences(), ckpt_path=tmp_path / "x.ckpt", verbose=False)


@pytest.mark.promise(27)
@pytest.mark.parametrize("validates", [0, None])
def test_a_loss_that_is_not_finite_is_told_with_its_step_rate_and_samples(validates: int | None) -> None:
    class Poison(Callback):
        def on_train_batch_start(self, trainer: Trainer, module: FineTuner, batch: Any, batch_idx: int) -> None:
            if trainer.global_step == 11:  # of 8 an epoch
                nn.init.constant_(module.classifier.head[0].weight, math.inf)

    fit = trainer(max_epochs=3, limit_val_batches=validates, callbacks=[Poison(), Finite()])
    samples = ", ".join(f"sample {i}" for i in range(48, 64))
    said = rf"step 12 \(epoch 2, batch 4\) is nan at optimizer\.lr=0\.5: .* batch: {samples}\."
    with pytest.raises(NumericalError, match=said):
        fit.fit(finetuner("full", lr=0.5), datamodule=Sentences())
    assert fit.current_epoch == 1


@pytest.mark.promise(27)
def test_a_long_epoch_does_not_go_on_for_long_with_a_loss_that_is_not_finite() -> None:
    module = finetuner("full")
    nn.init.constant_(module.classifier.head[0].weight, math.inf)
    fit = trainer(max_epochs=1, callbacks=[Finite()])
    with pytest.raises(NumericalError, match=r"step 1 .* batch: sample 0\."):
        fit.fit(module, DataLoader(Sentences().rows(120, 0), batch_size=1), Sentences().val_dataloader())
    assert fit.global_step < 40


def test_outputs_that_are_not_finite_are_an_error() -> None:
    module = finetuner("full")
    nn.init.constant_(module.classifier.head[0].weight, math.inf)
    with pytest.raises(NumericalError, match="outputs for 30 of 30"):
        trainer().test(module, datamodule=Sentences(), verbose=False)
