"""The LightningModule: one step for three splits, metrics once an epoch, small checkpoints."""

import math
from collections.abc import Callable
from typing import Any

import torch
from lightning import LightningModule
from torch import Tensor, nn
from torch.optim import Optimizer

from ft_lightning.errors import NumericalError, UserError
from ft_lightning.metrics import epoch_metrics
from ft_lightning.model import Classifier
from ft_lightning.optim import HeadSolver, build_optimizer

_IN_PROGRESS_BAR = (("train", "loss"), ("val", "accuracy"))


class FineTuner(LightningModule):
    """Trains what the classifier's freeze plan says, on batches `{"inputs", "target" (B,), "index" (B,)}`.

    A batch may bring the frozen backbone's "features" (B, D) instead of inputs.

    `index` is the sample's position in its split. Several processes fill up their last batches by repeating samples;
    by their index every sample is counted exactly once.

    Args:
        loss: (logits (B, C), targets (B,)) -> scalar.
        optimizer: parameter groups -> optimizer.
        scheduler: (optimizer, total_steps) -> Lightning's lr_scheduler configuration.
        backbone_lr_factor: learning rate of the backbone as a multiple of the head's.
    """

    def __init__(
        self,
        classifier: Classifier,
        loss: nn.Module,
        optimizer: Callable[[list[dict[str, Any]]], Optimizer],
        scheduler: Callable[..., Any],
        backbone_lr_factor: float,
    ) -> None:
        super().__init__()
        self.classifier = classifier
        self.loss = loss
        self.optimizer = optimizer
        self.scheduler = scheduler
        self.backbone_lr_factor = backbone_lr_factor
        self.strict_loading = False  # a checkpoint leaves the frozen part out
        self.outputs: dict[
            str, tuple[Tensor, Tensor, Tensor]
        ] = {}  # val, test -> index, logits, targets of the last look
        self._seen: dict[str, list[tuple[Tensor, ...]]] = {"train": [], "val": [], "test": []}

    def forward(self, inputs: Tensor | dict[str, Tensor]) -> Tensor:
        return self.classifier(inputs)

    def on_train_batch_start(self, batch: dict[str, Any], batch_idx: int) -> None:
        optimizer = self.optimizers(use_pl_optimizer=False)
        if isinstance(optimizer, HeadSolver):
            head = self.classifier.head
            optimizer.solve(head, batch["features"], batch["target"], self.loss, self.current_epoch)
            if self.trainer.world_size > 1:  # the same everywhere already, but for the last bits on unlike machines
                for parameter in head.parameters():
                    torch.distributed.broadcast(parameter.data, src=0)

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        return self._step(batch, "train")

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        return self._step(batch, "val")

    def test_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        return self._step(batch, "test")

    def on_validation_epoch_end(self) -> None:
        self._log(epoch_metrics(*self._gather("val")[1:]), "val")

    def on_test_epoch_end(self) -> None:
        self._log(epoch_metrics(*self._gather("test")[1:]), "test")

    def on_train_epoch_end(self) -> None:
        totals = torch.stack([torch.stack(seen) for seen in self._seen["train"]]).sum(0)  # (3,): loss, correct, samples
        self._seen["train"].clear()
        loss, correct, samples = torch.as_tensor(self.all_gather(totals)).reshape(-1, 3).sum(0).tolist()
        optimizer = self.trainer.optimizers[0]
        if isinstance(optimizer, HeadSolver):
            setting, value = "weight_decay", optimizer.strength
        else:
            setting, value = "lr", optimizer.param_groups[-1]["lr"]  # the head's group comes last
        if not math.isfinite(loss):
            raise NumericalError(
                f"The training loss of epoch {self.current_epoch} is {loss / samples} "
                f"at optimizer.{setting}={value:g}: use another one, or precision=32-true."
            )
        self._log({"loss": loss / samples, "accuracy": correct / samples, setting: value}, "train")

    def configure_optimizers(self) -> Any:
        trainable = [(name, p) for name, p in self.classifier.named_parameters() if p.requires_grad]
        # timm networks list what should not decay either, such as position embeddings.
        spared: set[str] = getattr(self.classifier.backbone.network, "no_weight_decay", set)()
        undecayed = {f"backbone.network.{name}" for name in spared}
        optimizer = build_optimizer(self.optimizer, trainable, self.backbone_lr_factor, undecayed)
        schedule = self.scheduler(optimizer, self.trainer.estimated_stepping_batches)
        return {"optimizer": optimizer, "lr_scheduler": schedule}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["state_dict"] = self._trained_state()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        expected, found = self._trained_state().keys(), checkpoint["state_dict"].keys()
        if expected != found:
            raise UserError(
                f"The checkpoint holds another trained part than this run, for example {sorted(expected ^ found)[0]}: "
                "use the finetune, model and head settings it was trained with."
            )

    def _trained_state(self) -> dict[str, Tensor]:
        plan = self.classifier.plan
        return {f"classifier.{name}": value for name, value in plan.trained_state(self.classifier.state_dict()).items()}

    def _step(self, batch: dict[str, Any], split: str) -> Tensor:
        stored, target = batch.get("features"), batch["target"]
        logits = self(batch["inputs"]) if stored is None else self.classifier.classify(stored)
        loss = self.loss(logits, target)
        # Kept as it is and looked at once an epoch: a metric update or a log call each step costs more than a head.
        if split == "train":
            n = torch.tensor(float(len(target)), device=loss.device)
            correct = (logits.detach().argmax(1) == target).sum().float()
            self._seen[split].append((loss.detach() * n, correct, n))
        else:
            self._seen[split].append((batch["index"], logits.detach(), target))
        return loss

    def _gather(self, split: str) -> tuple[Tensor, Tensor, Tensor]:
        """(index, logits, targets) of the whole split from all processes, in the split's order, each sample once."""
        index, logits, targets = (torch.cat(kept) for kept in zip(*self._seen[split], strict=True))
        self._seen[split].clear()
        if self.trainer.world_size > 1:
            index, logits, targets = (
                torch.as_tensor(self.all_gather(kept)).flatten(0, 1) for kept in (index, logits, targets)
            )
        index, order = index.cpu().sort(stable=True)
        first = torch.ones_like(index, dtype=torch.bool)
        first[1:] = index[1:] != index[:-1]
        self.outputs[split] = index[first], logits.cpu()[order][first], targets.cpu()[order][first]
        return self.outputs[split]

    def _log(self, values: dict[str, float], split: str) -> None:
        # Every process has computed the same values from all samples, so there is nothing left to reduce.
        for name, value in values.items():
            self.log(f"{split}/{name}", value, prog_bar=(split, name) in _IN_PROGRESS_BAR)
