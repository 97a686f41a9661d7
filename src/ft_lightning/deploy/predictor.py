"""A trained model that predicts."""

from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from ft_lightning.data.datasets import check_loader, longest_first
from ft_lightning.data.layout import Layout
from ft_lightning.deploy.generation import Writing, answers_table
from ft_lightning.features.extract import Computing
from ft_lightning.model import Classifier
from ft_lightning.readers.sample import Sample
from ft_lightning.system.console import sample_progress
from ft_lightning.system.hardware import autocast, casting_once, moved, pick_device
from ft_lightning.tasks.registry import task_of


class TrainedModel:
    """A trained classifier, ready to predict; made by `load`."""

    def __init__(self, classifier: Classifier, card: dict[str, Any]) -> None:
        self.classifier = classifier
        self.card = card  # the content of model.json
        self.task = task_of(card)
        self.layout = Layout.from_dict(card.get("data", {}))
        self.is_frozen: bool = card["finetune"]["mode"] == "frozen"  # whether the backbone is the pretrained one

    def predict(
        self,
        inputs: Any,
        batch_size: int = 32,
        num_workers: int | None = 0,
        device: str = "auto",
        precision: str = "auto",
        max_pixels: int = 100_000_000,
        abstain_below: float | None = None,
        show_progress: bool = False,
    ) -> pd.DataFrame:
        """Predict one row an input: path, the task's answer (predicted, probability, p(class) for each class), error.

        Inputs that are texts have them in the column `text`, after path.

        The row of an unreadable file is empty except for `error`, which holds the reason.

        Args:
            inputs: a path, a file's bytes, an image of Pillow or an array (H, W, 3) of uint8; of a model of texts a
                text, a path (pathlib) or bytes; or a list of them, where a tuple of two texts is a pair.
            abstain_below: adds the column `uncertain`: whether the calibrated probability is lower.

        Raises:
            UserError: `inputs` are of another kind, or pairs of texts for a model of single ones; `abstain_below` is no
                probability, or the task's answers have none.
        """
        task = self.task if abstain_below is None else self.task.abstaining(abstain_below)
        samples = Sample.several(inputs, self.classifier.backbone.reader.kind)
        self.layout.refuse_others(samples, "column")
        if task.generates:
            return self.answer(samples, device=device, show_progress=show_progress)
        names = [sample.path for sample in samples]
        reader = self.classifier.backbone.reader.adapted({"max_pixels": max_pixels})
        how = Computing.chosen(reader, device, precision, num_workers, show_progress)
        rows, errors = self.rows(samples, how, batch_size)
        # pyarrow's strings, where it is installed, hold neither undecodable file names nor half characters.
        with pd.option_context("mode.string_storage", "python"):
            table = task.table(names, rows, None)
            table["error"] = [errors.get(i, "") for i in range(len(names))]
            table.loc[table["error"] != "", table.columns.difference(["path", "error"])] = None
            if any(sample.text is not None for sample in samples):
                table.insert(1, "text", [sample.text for sample in samples])
        return table

    def answer(
        self, samples: Sequence[Sample], how: Writing | None = None, device: str = "auto", show_progress: bool = False
    ) -> pd.DataFrame:
        """Write one row a conversation that ends with a question: path, prompt, answer, stopped, answer_tokens, error.

        Args:
            how: None: the most probable answer, of as many tokens as in training.
        """
        how = how or Writing(self.card["task"]["max_new_tokens"])
        return answers_table(self.on(device).backbone, samples, how, show_progress)

    def on(self, device: str) -> Classifier:
        """Return the classifier on a device."""
        return self.classifier.to(pick_device(device))

    @torch.no_grad()  # in inference mode autocast keeps no casts
    def rows(
        self,
        samples: Sequence[Sample],
        how: Computing,
        batch_size: int = 32,
        observe: Callable[[list[Sample], dict[str, Any]], None] | None = None,
    ) -> tuple[Tensor, dict[int, str]]:
        """Return the rows (N, ...) that the task keeps of the outputs, such as logits, and errors by position.

        `observe` is called with the samples of each batch and with the batch.
        """
        check_loader(batch_size, how.num_workers)
        self.classifier.to(how.device)
        rows: list[Tensor] = []
        errors: dict[int, str] = {}
        batches = longest_first(samples, how.reader, batch_size)
        with casting_once(self.classifier.backbone, how.device), sample_progress(how.show_progress) as progress:
            bar = progress.add_task("Predicting", total=len(samples))
            for batch in how.loader(samples, batches):
                inputs = moved(batch["inputs"], how.device)
                with autocast(how.precision, how.device.type):
                    rows.append(self.classifier(inputs).float().cpu())
                read = batch["index"].tolist()
                if observe:
                    observe([samples[at] for at in read], batch)
                errors |= {at: error for at, error in zip(read, batch["error"], strict=True) if error}
                progress.advance(bar, len(batch["index"]))
        if not rows:
            return torch.empty(0, self.task.width), errors
        return torch.cat(rows)[torch.tensor(list(chain(*batches))).argsort()], errors
