"""The model directory: model.safetensors + model.json, self-contained, verified, and read without running anything."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from lightning.fabric.utilities import move_data_to_device
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.utils.data import DataLoader

from ft_lightning.backbones.load import build_backbone
from ft_lightning.data.datasets import PathsDataset, check_loader
from ft_lightning.finetune import freeze_plan
from ft_lightning.heads import build_head
from ft_lightning.model import Classifier
from ft_lightning.system.errors import UserError
from ft_lightning.system.files import replacing, sha256, write_json
from ft_lightning.system.hardware import autocast, default_workers, pick_device, pick_precision
from ft_lightning.system.versions import versions
from ft_lightning.tasks.multiclass import prediction_table

FORMAT = 1  # raised when an older reader would misread a newer file
WEIGHTS, CARD = "model.safetensors", "model.json"


class TrainedModel:
    """A classifier as it came out of training, ready to predict. Made by `load`."""

    def __init__(self, classifier: Classifier, card: dict[str, Any]) -> None:
        self.classifier = classifier
        self.card = card  # the content of model.json
        self.class_names: list[str] = card["class_names"]
        self.temperature: float = card.get("temperature", 1.0)  # models had none at first

    @property
    def is_frozen(self) -> bool:
        """Whether the backbone is still the pretrained one."""
        return self.card["finetune"]["mode"] == "frozen"

    def predict(
        self,
        paths: Sequence[str | Path],
        batch_size: int = 32,
        num_workers: int | None = 0,
        device: str = "auto",
        precision: str = "auto",
        max_pixels: int = 100_000_000,
        abstain_below: float | None = None,
    ) -> pd.DataFrame:
        """One row a file: path, predicted, probability, p(class) for each class, error.

        A file that cannot be read keeps its row: empty but for `error`, which says why.

        Args:
            abstain_below: adds the column `uncertain`: whether the probability, which is calibrated, is lower.

        Raises:
            UserError: a value of `abstain_below` that is no probability.
        """
        is_number = isinstance(abstain_below, int | float) and not isinstance(abstain_below, bool)
        if abstain_below is not None and not (is_number and 0 <= abstain_below <= 1):
            raise UserError(f"abstain_below={abstain_below}: use a probability from 0 to 1, such as 0.8.")
        names = [str(path) for path in paths]
        dataset = PathsDataset(names, self.classifier.backbone.preprocess, max_pixels)
        logits, errors = self.logits(dataset, batch_size, num_workers, device, precision)
        table = prediction_table(names, logits, self.class_names)
        if abstain_below is not None:
            table.insert(3, "uncertain", (table["probability"] < abstain_below).astype(object))
        table["error"] = [errors.get(i, "") for i in range(len(names))]
        table.loc[table["error"] != "", table.columns.difference(["path", "error"])] = None
        return table

    @torch.inference_mode()
    def logits(
        self,
        dataset: Any,
        batch_size: int,
        num_workers: int | None,
        device: str,
        precision: str,
        observe: Callable[[dict[str, Any]], None] = lambda batch: None,
    ) -> tuple[Tensor, dict[int, str]]:
        """Calibrated logits (N, C) of a dataset of `{"inputs", "index", "error"}`, and the errors by index.

        Args:
            observe: hears of each batch.
        """
        check_loader(batch_size, num_workers)
        target = pick_device(device)
        precision = pick_precision(precision, target.type)
        self.classifier.to(target)
        logits = torch.empty(len(dataset), len(self.class_names))
        errors: dict[int, str] = {}
        workers = default_workers() if num_workers is None else num_workers
        for batch in DataLoader(dataset, batch_size, num_workers=workers, pin_memory=target.type == "cuda"):
            with autocast(precision, target.type):
                logits[batch["index"]] = self.classifier(move_data_to_device(batch["inputs"], target)).cpu()
            observe(batch)
            errors |= {int(i): error for i, error in zip(batch["index"], batch["error"], strict=True) if error}
        return logits / self.temperature, errors

    @torch.inference_mode()
    def classify(self, features: Tensor) -> Tensor:
        """Calibrated logits (B, C) of features (B, D)."""
        head = next(self.classifier.head.parameters())
        return self.classifier.classify(features.to(head.device)).cpu() / self.temperature


def save(
    folder: Path,
    classifier: Classifier,
    head: dict[str, Any],
    data: Any,
    metrics: dict[str, Any],
    build_backbone: Callable[..., Any] = build_backbone,
) -> None:
    """Write a model directory, whole or not at all, and check that it gives back the very same classifier.

    Args:
        head: name and arguments, as `heads.build_head` takes them.
        data: what it was trained on, for `class_names` and `class_counts`.
        metrics: of val and test, as in metrics.json.
        build_backbone: as in `load`, for the check.
    """
    backbone = classifier.backbone
    state = {name: value.detach().cpu().contiguous().clone() for name, value in classifier.state_dict().items()}
    card = {
        "format": FORMAT,
        "backbone": asdict(backbone.identity),
        "preprocess": backbone.preprocess.to_dict(),
        "finetune": {"mode": classifier.plan.mode, "trained_blocks": list(classifier.plan.trained_blocks)},
        "head": head,
        "class_names": data.class_names,
        "class_counts": data.class_counts,  # of train, for the majority baseline
        "temperature": metrics["calibration"]["temperature"],
        "metrics": {split: _headline(metrics[split]) for split in ("val", "test")},
        "versions": versions(),
    }
    with replacing(folder) as temporary:
        temporary.mkdir()
        try:
            save_file(state, temporary / WEIGHTS)
        except SafetensorError as error:  # how it tells of a full disk
            raise OSError(str(error)) from error
        write_json(temporary / CARD, card | {"sha256": sha256(temporary / WEIGHTS)})
        reloaded = load(temporary, build_backbone).classifier.state_dict()
        assert reloaded.keys() == state.keys(), "the saved model has other tensors than the trained one"
        assert all(torch.equal(reloaded[name], state[name]) for name in state), "the saved model has other values"


def load(model_dir: str | Path, build_backbone: Callable[..., Any] = build_backbone) -> TrainedModel:
    """Read a model directory, or the run directory that holds one, without network, pickle or the original weights.

    Args:
        build_backbone: (identity, preprocess), the dictionaries of model.json, -> backbone; for a backbone of your own.

    Raises:
        UserError: no model there, a newer format, or weights that are not those model.json was written with.
    """
    folder = _find(Path(str(model_dir)).expanduser())
    card = _read_card(folder / CARD)
    found = sha256(folder / WEIGHTS)
    if found != card.get("sha256"):
        raise UserError(
            f"{folder / WEIGHTS} is damaged: sha256 {found}, expected {card.get('sha256')}. "
            "Copy the model directory again."
        )
    try:
        return _build(card, load_file(folder / WEIGHTS), build_backbone)
    except UserError:
        raise
    except Exception as error:  # of many kinds, for a card or a file that somebody has changed
        reason = " ".join(str(error).split())[:300]
        raise UserError(
            f"{folder} holds no model that can be read ({type(error).__name__}: {reason}): copy it again."
        ) from error


def _build(card: dict[str, Any], state: dict[str, Tensor], build_backbone: Callable[..., Any]) -> TrainedModel:
    backbone = build_backbone(card["backbone"], card["preprocess"])
    head = build_head(in_features=backbone.feature_dim, num_classes=len(card["class_names"]), **card["head"])
    classifier = Classifier(backbone, head, freeze_plan(backbone, head, mode="frozen", k=None, freeze_bn=True))
    classifier.load_state_dict(state)
    return TrainedModel(classifier.eval().requires_grad_(False), card)


def _headline(metrics: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in metrics.items() if name not in ("per_class", "confusion")}


def _find(folder: Path) -> Path:
    for candidate in (folder, folder / "model"):
        if (candidate / CARD).is_file() and (candidate / WEIGHTS).is_file():
            return candidate
    raise UserError(
        f"model_dir={folder} holds no model: expected {CARD} and {WEIGHTS} there or in its model/ folder, "
        "as a finished run leaves them (outputs/train/<run>/model)."
    )


def _read_card(path: Path) -> dict[str, Any]:
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
        written = int(card["format"])
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path} is not the description of a model ({error!r}): copy the model directory again."
        ) from None
    if written > FORMAT:
        writer = card.get("versions", {}).get("ft_lightning", "a newer one")
        raise UserError(
            f"{path} has format {written}, written by ft_lightning {writer}; this one reads up to {FORMAT}: upgrade it."
        )
    return card
