"""What is tried before the images are read."""

from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image
from torch import Tensor, nn
from torchvision import tv_tensors

from ft_lightning.cli import rehearsal
from ft_lightning.cli.compose import compose
from ft_lightning.cli.rehearsal import _refuse_parts_of_an_epoch, augmentation
from ft_lightning.module import FineTuner
from ft_lightning.optim import constant
from ft_lightning.readers.image_reader import ImageReader
from ft_lightning.system.errors import UserError
from ft_lightning.tasks.multiclass import MultiClass

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
    assert tried == [(64, 48)] * 4, "three times, and once without it"


def made_of_a_blank_image(what: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rehearsal, "make", lambda cfg, key: lambda preprocess: lambda image: what)
    augmentation(OmegaConf.create({"augment": {"_target_": "mine.crops"}}), ImageReader(lambda _: torch.zeros(3, 8, 8)))


@pytest.mark.parametrize("strange", [None, torch.zeros(8, 8), "pixels"])
def test_an_augmentation_that_makes_no_pixels_is_refused(strange: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"augment: mine\.crops makes a \w+( of shape \(8, 8\))? of an image"):
        made_of_a_blank_image(strange, monkeypatch)
    made_of_a_blank_image(torch.zeros(3, 4, 4), monkeypatch)  # of another size
    made_of_a_blank_image(tv_tensors.Image(torch.zeros(3, 8, 8)), monkeypatch)  # as torchvision's v2 makes them


class Summing(nn.Module):
    def forward(self, outputs: Tensor, target: Tensor) -> Any:
        return outputs.sum(1)


class OfThree(FineTuner):
    def loss_of(self, batch: dict[str, Any], outputs: Tensor, extra: Tensor) -> Tensor:  # type: ignore[override]
        return extra


@dataclass(frozen=True)
class Ordered(MultiClass):
    """A subclass whose monitor is another one."""

    monitor: ClassVar[str] = "off_by"

    def metrics(self, rows: Tensor, target: Tensor, full: bool) -> dict[str, Any]:
        return {"off_by": 0.25}


@dataclass(frozen=True)
class OfMany(MultiClass):
    """A metric that two samples are too few for."""

    def metrics(self, rows: Tensor, target: Tensor, full: bool) -> dict[str, Any]:
        raise ValueError("too few")


@dataclass(frozen=True)
class Voteless(MultiClass):
    def vote(self, targets: Tensor, weights: Tensor) -> Tensor:
        return torch.zeros(len(targets), 1).scatter_add_(1, targets, weights)


@dataclass(frozen=True)
class OfAllClasses(MultiClass):
    """Its monitor is another one, whose value needs a sample of each class, and may be none."""

    monitor: ClassVar[str] = "rarest"

    def metrics(self, rows: Tensor, target: Tensor, full: bool) -> dict[str, Any]:
        if len(target.unique()) < len(self.class_names):
            raise ValueError("a class is missing")
        return {"rarest": None}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"head": nn.Linear(4, 2)}, r"head: mine gives a Tensor of shape \(2, 2\) for two samples: make it 3 outputs"),
        ({"loss": Summing()}, r"loss: mine\.Loss gives a Tensor of shape \(2,\) for two samples: make it their mean"),
        ({"module": OfThree}, "module: OfThree.loss_of is called with batch and outputs: missing a required argument"),
        ({"task": Ordered}, r"task=mine: Ordered.score gives .* where its metric off_by, which decides, is 0.25"),
        (
            {"task": Voteless},
            r"task=mine: Voteless\.vote, or .* fails for 5 samples: RuntimeError: index 2",
        ),
        ({"task": OfMany}, ""),
        ({"task": OfAllClasses}, ""),
        ({}, ""),
    ],
    ids=str,
)
def test_what_is_one_s_own_and_would_fail_late_is_refused(change: dict[str, Any], said: str) -> None:
    task = change.get("task", MultiClass)(["a", "b", "c"], [1, 1, 1])
    backbone = SimpleNamespace(feature_dim=4, network=nn.Identity())
    classifier = nn.Module()
    classifier.backbone, classifier.head = backbone, change.get("head", nn.Linear(4, 3))
    module = change.get("module", FineTuner).__new__(change.get("module", FineTuner))
    nn.Module.__init__(module)
    module.classifier, module.task, module.loss = classifier, task, change.get("loss", nn.CrossEntropyLoss())
    module.optimizer, module.backbone_lr_factor = lambda groups: torch.optim.SGD(groups, 0.1), 1.0
    module.scheduler, module.mix = constant, None
    targets = {split: torch.tensor([2, 2, 1, 1, 0]) for split in COUNTS}
    data = SimpleNamespace(
        task=task, targets=targets.get, weights=lambda split: None, splits={split: [0] * 8 for split in COUNTS}
    )
    cfg = compose("train")
    cfg.head.name, cfg.loss._target_, cfg.task.name = "mine", "mine.Loss", "mine"
    if not said:
        rehearsal.rehearse(cfg, module, data)  # type: ignore[arg-type]
        return
    with pytest.raises(UserError, match=said):
        rehearsal.rehearse(cfg, module, data)  # type: ignore[arg-type]
