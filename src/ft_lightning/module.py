"""The LightningModule: one step for three splits and every task, metrics once an epoch, small checkpoints."""

import logging
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from lightning import LightningModule
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from ft_lightning.mix import Mix
from ft_lightning.model import Classifier
from ft_lightning.optim import build_optimizer, setting_of
from ft_lightning.runs.trained_part import TrainedPart
from ft_lightning.system.errors import UserError, name_few, number_of
from ft_lightning.system.seeds import reseed, seed_of
from ft_lightning.tasks.task import Details, Outputs, Task

log = logging.getLogger(__name__)


class FineTuner(LightningModule):
    """Trains a classifier under its freeze plan, on batches `{"inputs", "target" (B, ...), "index" (B,)}`.

    A batch may bring the frozen backbone's "features" (B, D) instead of inputs.

    For a training of your own, write a subclass and name it in a file of conf/module: override `loss_of`, and set
    `needs_inputs` if it cannot train on features alone.

    `index` is the sample's position in its split. Several processes fill up their last batches by repeating samples;
    the index makes sure that each sample counts exactly once.

    Args:
        task: encodes targets and measures outputs.
        loss: (outputs (B, C), targets) -> scalar.
        optimizer: parameter groups -> optimizer.
        scheduler: (optimizer, total_steps) -> Lightning's lr_scheduler configuration.
        mix: (inputs, targets (B,)) of a train batch -> (inputs, class probabilities (B, C)), or None.
        backbone_lr_factor: learning rate of the backbone as a multiple of the head's.
        seed: of dropout and everything else random in a step. Random numbers depend on seed, epoch, step and
            process, so that a run resumed within an epoch continues as if it had never stopped.
    """

    needs_inputs = False  # True: train batches always hold inputs, never stored features
    counts: ClassVar[str] = ""  # what `counted` counts, which metrics.csv then has as train/...; empty: samples

    def __init__(
        self,
        classifier: Classifier,
        task: Task,
        loss: nn.Module,
        optimizer: Callable[[list[dict[str, Any]]], Optimizer],
        scheduler: Callable[..., Any],
        mix: Mix | None,
        backbone_lr_factor: float,
        seed: int,
    ) -> None:
        super().__init__()
        if callable(self.needs_inputs):
            raise UserError(
                f"module: {type(self).__name__}.needs_inputs is a method: make it True, False or a property."
            )
        self.classifier = classifier
        self.task = task
        self.loss = loss
        self.optimizer = optimizer
        self.scheduler = scheduler
        self.mix = mix
        self.backbone_lr_factor = backbone_lr_factor
        self.seed = seed
        self.strict_loading = False  # a checkpoint leaves the frozen part out
        self.outputs: dict[str, Outputs] = {}  # by split: of the latest validation and test
        self.first_epoch = 0  # of this fit
        self._seen: dict[str, list[tuple[Tensor, ...]]] = {"train": [], "val": [], "test": []}
        self._sums: tuple[str, ...] = ()  # the task's metrics of a batch in training
        self._trained_part = TrainedPart(classifier)
        self._stopped = False

    def forward(self, inputs: Tensor | dict[str, Tensor]) -> Tensor:
        return self.classifier(inputs)

    def loss_of(self, batch: dict[str, Any], outputs: Tensor) -> Tensor:
        """Return the scalar loss that a training step minimises, from outputs (B, C).

        The samples' weights, where they have any, are `batch["weight"]` (B,).
        """
        weights = [batch["weight"]] if "weight" in batch else []
        return self.loss(outputs, batch["target"], *weights)

    def counted(self, batch: dict[str, Any], outputs: Tensor) -> Tensor:
        """Return of how many samples, or other units, the loss of outputs (B, C) is the mean."""
        return torch.tensor(float(len(outputs)), device=outputs.device)

    def details(self) -> Details:
        """Return further results of the training, for the page."""
        return Details({}, {})

    def on_train_start(self) -> None:
        self.first_epoch = self.current_epoch
        self._seen["train"] = [tuple(value.to(self.device) for value in step) for step in self._seen["train"]]
        if self._stopped:  # early stopping ended the run before its checkpoint was written
            self.trainer.should_stop = True
            log.warning("Early stopping has ended this run: there is nothing left to train.")

    def on_train_batch_start(self, batch: dict[str, Any], batch_idx: int) -> None:
        reseed(seed_of(self.seed, self.current_epoch, "step", batch_idx, self.global_rank), self.device)

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        if self.mix:  # on_train_batch_start has seeded its random numbers
            inputs, target = self.mix(batch["inputs"], batch["target"])
            batch = batch | {"inputs": inputs, "target": target}
        outputs, target = self._outputs(batch), batch["target"]
        loss = self._loss_of(batch, outputs)
        # Collected here and read once an epoch: a metric update or log call in each step costs more than a head.
        n = self.counted(batch, outputs.detach())
        sums = self.task.sums(outputs.detach(), target)
        self._sums = tuple(sums)
        self._seen["train"].append((loss.detach() * n, *sums.values(), n))
        return loss

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        self._keep(batch, "val")

    def test_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        self._keep(batch, "test")

    def on_validation_epoch_end(self) -> None:
        values = self._measure("val")
        fitting = self.trainer.state.fn == "fit" and not self.trainer.sanity_checking
        for schedule in self.trainer.lr_scheduler_configs if fitting else ():
            if isinstance(schedule.scheduler, ReduceLROnPlateau):
                schedule.scheduler.step(values[str(schedule.monitor).removeprefix("val/")])

    def on_test_epoch_end(self) -> None:
        self._measure("test")

    def on_train_epoch_end(self) -> None:
        totals = torch.stack([torch.stack(seen) for seen in self._seen["train"]]).sum(0)  # (loss, *sums, samples)
        self._seen["train"].clear()
        loss, *sums, samples = torch.as_tensor(self.all_gather(totals)).reshape(-1, len(totals)).sum(0).tolist()
        metrics = {name: value / samples for name, value in zip(self._sums, sums, strict=True)}
        setting, value = setting_of(self.trainer.optimizers[0])
        counted = {self.counts: samples} if self.counts else {}
        self._log({"loss": loss / samples, **metrics, **counted, setting: value}, "train")

    def configure_optimizers(self) -> Any:
        own = [name for name, p in self.named_parameters() if p.requires_grad and not name.startswith("classifier.")]
        if own:
            raise UserError(
                f"module: {type(self).__name__} has parameters of its own, which would neither train nor be kept "
                f"({name_few(own)}): make them part of the head, or freeze them with requires_grad_(False)."
            )
        trainable = [(name, p) for name, p in self.classifier.named_parameters() if p.requires_grad]
        # timm networks list further parameters that should not decay, such as position embeddings.
        spared: set[str] = getattr(self.classifier.backbone.network, "no_weight_decay", set)()
        undecayed = {f"backbone.network.{name}" for name in spared}
        optimizer = build_optimizer(self.optimizer, trainable, self.backbone_lr_factor, undecayed)
        schedule = self.scheduler(optimizer, self.trainer.estimated_stepping_batches)
        return {"optimizer": optimizer, "lr_scheduler": schedule}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        setting, value = setting_of(self.trainer.optimizers[0])
        self._trained_part.pack(checkpoint, f"step {self.global_step} at optimizer.{setting}={value:g}")
        checkpoint["stopped"] = any(
            stopping.stopped_epoch or stopping.wait_count >= stopping.patience
            for stopping in self.trainer.early_stopping_callbacks
        )
        if self._seen["train"]:  # within an epoch: (processes, steps, sums), for its row of metrics.csv
            seen = torch.stack([torch.stack(step) for step in self._seen["train"]])
            checkpoint["seen"] = torch.as_tensor(self.all_gather(seen)).reshape(-1, *seen.shape).cpu()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self._trained_part.unpack(checkpoint, self.state_dict())
        if self.trainer.state.fn == "fit":
            self._resume(checkpoint)

    def _resume(self, checkpoint: dict[str, Any]) -> None:
        if self.trainer.max_epochs is not None and 0 <= self.trainer.max_epochs <= checkpoint["epoch"]:
            raise UserError(
                f"trainer.max_epochs={self.trainer.max_epochs}: the run is already in epoch "
                f"{checkpoint['epoch'] + 1}: use that many or more."
            )
        self._stopped = checkpoint["stopped"]
        self.first_epoch = checkpoint["epoch"] + 1
        if "seen" in checkpoint:
            if len(checkpoint["seen"]) != self.trainer.world_size:
                raise UserError(
                    "trainer.devices: the run stopped within an epoch of "
                    f"{number_of(len(checkpoint['seen']), 'process', 'processes')}, but "
                    f"{self.trainer.world_size} would divide the rest differently: use as many as before."
                )
            self._seen["train"] = [tuple(step) for step in checkpoint["seen"][self.global_rank]]
        for schedule in checkpoint.get("lr_schedulers", ()):
            for planned in ("total_steps", "_schedule_phases"):  # of OneCycleLR: this run may be longer
                schedule.pop(planned, None)

    def _loss_of(self, batch: dict[str, Any], outputs: Tensor) -> Tensor:
        """Return `loss_of`, which may be the user's own, or say what is wrong with it."""
        who = f"module: {type(self).__name__}.loss_of"
        try:
            loss = self.loss_of(batch, outputs)
        except KeyError as error:
            if error.args == ("inputs",) and "features" in batch:
                raise UserError(f"{who} wants batch['inputs'] beside features: set needs_inputs = True.") from error
            raise
        if not isinstance(loss, Tensor) or loss.ndim:
            found = f"a tensor of shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else f"a {type(loss).__name__}"
            raise UserError(f"{who} returned {found}: make it the mean over the batch, a tensor without dimensions.")
        return loss

    def _outputs(self, batch: dict[str, Any]) -> Tensor:
        stored = batch.get("features")
        return self(batch["inputs"]) if stored is None else self.classifier.classify(stored)

    def _keep(self, batch: dict[str, Any], split: str) -> None:
        target = batch["target"]
        self._seen[split].append((batch["index"], self.task.rows(self._outputs(batch).detach(), target), target))

    def _measure(self, split: str) -> dict[str, float]:
        """Compute and log the task's metrics of a finished split."""
        self.outputs[split] = self._gather(split)
        values = self.task.metrics(self.outputs[split].rows, self.outputs[split].target, full=False)
        self._log(values, split)
        return values

    def _gather(self, split: str) -> Outputs:
        """Gather the whole split's outputs from all processes, in the split's order, each sample once."""
        index, rows, target = (torch.cat(kept) for kept in zip(*self._seen[split], strict=True))
        self._seen[split].clear()
        if self.trainer.world_size > 1:
            index, rows, target = (
                torch.as_tensor(self.all_gather(kept)).flatten(0, 1) for kept in (index, rows, target)
            )
        index, order = index.cpu().sort(stable=True)
        first = torch.ones_like(index, dtype=torch.bool)
        first[1:] = index[1:] != index[:-1]
        return Outputs(index[first], rows.cpu()[order][first], target.cpu()[order][first])

    def _log(self, values: dict[str, float], split: str) -> None:
        # Every process has computed the same values from all samples: nothing is left to reduce.
        shown = {"train": "loss", "val": self.task.monitor}
        for name, value in values.items():
            self.log(f"{split}/{name}", value, prog_bar=shown.get(split) == name)
