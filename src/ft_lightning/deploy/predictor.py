"""A trained model that answers."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from lightning.fabric.utilities import move_data_to_device
from torch import Tensor
from torch.utils.data import DataLoader

from ft_lightning.data.datasets import PathsDataset, check_loader
from ft_lightning.model import Classifier
from ft_lightning.system.errors import UserError
from ft_lightning.system.hardware import autocast, default_workers, pick_device, pick_precision
from ft_lightning.tasks.multiclass import prediction_table


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
