"""The LightningModule: one step for three splits, metrics once an epoch, small checkpoints."""

import hashlib
import json
import logging
from collections.abc import Callable
from typing import Any

import torch
from lightning import LightningModule
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from ft_lightning.callbacks.finite import RecentLosses
from ft_lightning.finetune import digest_of
from ft_lightning.mix import Mix
from ft_lightning.model import Classifier
from ft_lightning.optim import HeadSolver, build_optimizer, setting_of
from ft_lightning.system.errors import NumericalError, UserError
from ft_lightning.system.seeds import reseed, seed_of
from ft_lightning.tasks.metrics import epoch_metrics

log = logging.getLogger(__name__)

# What a checkpoint holds of the weights; the second beside their average, with `callback=ema`.
_WEIGHTS = {"state_dict", "current_model_state"}
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
        mix: (inputs, targets (B,)) of a train batch -> (inputs, class probabilities (B, C)), or None.
        backbone_lr_factor: learning rate of the backbone as a multiple of the head's.
        seed: of dropout and whatever else is random in a step, which depends on it, the epoch, the step and the
            process, so that a run that is taken up again within an epoch goes on as if it had not stopped.
    """

    def __init__(
        self,
        classifier: Classifier,
        loss: nn.Module,
        optimizer: Callable[[list[dict[str, Any]]], Optimizer],
        scheduler: Callable[..., Any],
        mix: Mix | None,
        backbone_lr_factor: float,
        seed: int,
    ) -> None:
        super().__init__()
        self.classifier = classifier
        self.loss = loss
        self.optimizer = optimizer
        self.scheduler = scheduler
        self.mix = mix
        self.backbone_lr_factor = backbone_lr_factor
        self.seed = seed
        self.strict_loading = False  # a checkpoint leaves the frozen part out
        self.outputs: dict[
            str, tuple[Tensor, Tensor, Tensor]
        ] = {}  # val, test -> index, logits, targets of the last look
        self._seen: dict[str, list[tuple[Tensor, ...]]] = {"train": [], "val": [], "test": []}
        self._losses = RecentLosses()
        self._frozen_digest = ""
        self._stopped = False
        self.first_epoch = 0  # that this fit trains

    def forward(self, inputs: Tensor | dict[str, Tensor]) -> Tensor:
        return self.classifier(inputs)

    def on_train_start(self) -> None:
        self.first_epoch = self.current_epoch
        self._seen["train"] = [tuple(value.to(self.device) for value in step) for step in self._seen["train"]]
        if self._stopped:  # before the checkpoint that this run goes on from was written
            self.trainer.should_stop = True
            log.warning("Early stopping has ended this run: there is nothing left to train.")

    def on_train_batch_start(self, batch: dict[str, Any], batch_idx: int) -> None:
        seed = seed_of(self.seed, self.current_epoch, "step", batch_idx, self.global_rank)
        reseed(seed, self.device)
        optimizer = self.trainer.optimizers[0]
        if isinstance(optimizer, HeadSolver):
            head = self.classifier.head
            optimizer.solve(head, batch["features"], batch["target"], self.loss, self.current_epoch)
            if self.trainer.world_size > 1:  # the same everywhere already, but for the last bits on unlike machines
                for parameter in head.parameters():
                    torch.distributed.broadcast(parameter.data, src=0)

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        if self.mix:  # with random numbers that on_train_batch_start has made those of this step
            inputs, target = self.mix(batch["inputs"], batch["target"])
            batch = batch | {"inputs": inputs, "target": target}
        loss = self._step(batch, "train")
        self._losses.add(self, loss, batch["index"], batch_idx)
        return loss

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        return self._step(batch, "val")

    def test_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        return self._step(batch, "test")

    def on_validation_start(self) -> None:
        self._losses.refuse_non_finite(self)

    def on_validation_epoch_end(self) -> None:
        values = epoch_metrics(*self._gather("val")[1:])
        self._log(values, "val")
        fitting = self.trainer.state.fn == "fit" and not self.trainer.sanity_checking
        for schedule in self.trainer.lr_scheduler_configs if fitting else ():
            if isinstance(schedule.scheduler, ReduceLROnPlateau):
                schedule.scheduler.step(values[str(schedule.monitor).removeprefix("val/")])

    def on_test_epoch_end(self) -> None:
        self._log(epoch_metrics(*self._gather("test")[1:]), "test")

    def on_train_epoch_end(self) -> None:
        self._losses.refuse_non_finite(self)
        totals = torch.stack([torch.stack(seen) for seen in self._seen["train"]]).sum(0)  # (3,): loss, correct, samples
        self._seen["train"].clear()
        loss, correct, samples = torch.as_tensor(self.all_gather(totals)).reshape(-1, 3).sum(0).tolist()
        setting, value = setting_of(self.trainer.optimizers[0])
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
        self._losses.refuse_non_finite(self)  # a broken state never takes the place of an intact one
        trained = self._trained_state().keys()
        for key in _WEIGHTS & checkpoint.keys():
            checkpoint[key] = {name: value for name, value in checkpoint[key].items() if name in trained}
        if broken := [name for name, value in checkpoint["state_dict"].items() if not value.isfinite().all()]:
            setting, value = setting_of(self.trainer.optimizers[0])
            raise NumericalError(
                f"{broken[0].removeprefix('classifier.')} is not finite after step {self.global_step} at "
                f"optimizer.{setting}={value:g}: use another one, or precision=32-true."
            )
        checkpoint["frozen_sha256"] = self._frozen_sha256()
        checkpoint["stopped"] = any(
            stopping.stopped_epoch or stopping.wait_count >= stopping.patience
            for stopping in self.trainer.early_stopping_callbacks
        )
        if self._seen["train"]:  # within an epoch: what its row of metrics.csv will count, (processes, steps, 3)
            seen = torch.stack([torch.stack(step) for step in self._seen["train"]])
            checkpoint["seen"] = torch.as_tensor(self.all_gather(seen)).reshape(-1, *seen.shape).cpu()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        expected, found = self._trained_state().keys(), checkpoint["state_dict"].keys()
        if expected != found:
            raise UserError(
                f"The checkpoint holds another trained part than this run, for example {sorted(expected ^ found)[0]}: "
                "use the finetune, model and head settings it was trained with."
            )
        if checkpoint["frozen_sha256"] != self._frozen_sha256():
            raise UserError(
                f"The frozen weights and their preprocess have sha256 {self._frozen_sha256()}, the checkpoint was "
                f"trained on {checkpoint['frozen_sha256']}: use the model.weights it was trained with."
            )
        if self.trainer.state.fn == "fit":
            self._go_on(checkpoint)
        frozen = {name: value for name, value in self.state_dict().items() if name not in expected}
        for key in _WEIGHTS & checkpoint.keys():  # WeightAveraging wants all of them
            checkpoint[key] |= frozen

    def _go_on(self, checkpoint: dict[str, Any]) -> None:
        if self.trainer.max_epochs is not None and 0 <= self.trainer.max_epochs <= checkpoint["epoch"]:
            raise UserError(
                f"trainer.max_epochs={self.trainer.max_epochs}: the run is in its epoch {checkpoint['epoch'] + 1} "
                "already, and goes on with that many or more."
            )
        self._stopped = checkpoint["stopped"]
        self.first_epoch = checkpoint["epoch"] + 1
        if "seen" in checkpoint:
            if len(checkpoint["seen"]) != self.trainer.world_size:
                raise UserError(
                    f"trainer.devices: the run stopped within an epoch of {len(checkpoint['seen'])} processes, and "
                    f"{self.trainer.world_size} would share the rest of it otherwise: use as many as before."
                )
            self._seen["train"] = [tuple(step) for step in checkpoint["seen"][self.global_rank]]
        for schedule in checkpoint.get("lr_schedulers", ()):
            for planned in ("total_steps", "_schedule_phases"):  # of OneCycleLR: this run may be a longer one
                schedule.pop(planned, None)

    def _frozen_sha256(self) -> str:
        if not self._frozen_digest:
            frozen = digest_of(self.classifier.plan.frozen_state(self.classifier.state_dict()))
            preprocess = json.dumps(self.classifier.backbone.preprocess.to_dict(), sort_keys=True)
            self._frozen_digest = hashlib.sha256(f"{frozen}{preprocess}".encode()).hexdigest()
        return self._frozen_digest

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
            label = target if target.ndim == 1 else target.argmax(1)
            correct = (logits.detach().argmax(1) == label).sum().float()
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
