"""The callback that lets a run train on stored features: it completes the store and connects it to the data."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from ft_lightning.backbones.backbone import Backbone
from ft_lightning.data.protocol import Data
from ft_lightning.features.extract import Computing, open_store
from ft_lightning.features.fill import Filled, complete, rows_of, say
from ft_lightning.features.rows import Rows
from ft_lightning.heads import outputs_of, probe, weighted
from ft_lightning.model import Classifier
from ft_lightning.optim import STRENGTHS
from ft_lightning.runs.write import Stopwatch
from ft_lightning.system import console
from ft_lightning.system.distributed import Processes
from ft_lightning.system.errors import UserError, name_few, number_of
from ft_lightning.tasks.selection import rank

if TYPE_CHECKING:
    from ft_lightning.module import FineTuner


class Chooser(NamedTuple):
    """The metric that decides, such as val/loss, and its direction."""

    monitor: str
    mode: str


class Requirement(NamedTuple):
    """A setting that needs stored features, such as optimizer=lbfgs."""

    what: str
    instead: str  # what to do where they are live
    splits: Sequence[str] = ("train",)  # that must be stored


class RowCache:
    """Caches a frozen backbone's rows between the fits of one process."""

    def __init__(self) -> None:
        self._objects: tuple[Data, Backbone] | None = None
        self._computing: tuple[str, str] | None = None
        self._rows: dict[str, Rows] = {}

    def of(self, data: Data, model: Classifier, how: Computing) -> dict[str, Rows]:
        """Return this dataset and backbone's rows by split, a dictionary that the caller may add to."""
        if model.plan.mode != "frozen":  # training will change its features
            return {}
        computing = (how.precision, how.device.type)
        same = self._objects and self._objects[0] is data and self._objects[1] is model.backbone
        if not same or self._computing != computing:
            self._objects, self._computing, self._rows = (data, model.backbone), computing, {}
        return self._rows

    def divided(self, data: Data, positions: Mapping[str, Tensor]) -> "RowCache":
        """Return a cache with the rows of the same samples in other splits.

        Args:
            data: has those splits.
            positions: of each split's samples among all of this cache's, split after split.
        """
        assert self._objects, "no rows are there yet"
        everything = Rows.joined([self._rows[split] for split in self._objects[0].splits])
        other = RowCache()
        other._objects, other._computing = (data, self._objects[1]), self._computing
        other._rows = {split: everything.picked(at) for split, at in positions.items()}
        return other


class StoredFeatures(Callback):
    """Lets a run train, validate and test on stored features wherever that changes only its speed.

    Lightning calls `setup` in every process before any loader exists, with device and process group ready.

    Args:
        cache: `enabled` (False computes everything live) and `dir`, as in conf/cache.yaml.
        splits: those that the run uses.
        required_by: the setting that needs stored features; or None.
        probe: start the head at its optimum on the stored features of train, whatever trains afterwards; by what val
            chooses the L2 strength. None: the head starts as it is.
        quiet: print only what is computed, and no bar.
        clock: its lap "features_s" ends when all rows are there, "probe_s" when the head is at its optimum.
        rows: shared with other fits of this process.
    """

    # No dataclass: Hydra would take one among the Trainer's callbacks for a config.
    def __init__(
        self,
        cache: Any,
        splits: Sequence[str],
        required_by: Requirement | None,
        probe: Chooser | None,
        show_progress: bool,
        quiet: bool,
        clock: Stopwatch,
        rows: RowCache,
    ) -> None:
        self.cache, self.splits, self.required_by, self.probe = cache, splits, required_by, probe
        self.show_progress, self.quiet, self.clock, self.rows = show_progress, quiet, clock, rows
        self.found = self.computed = 0

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Compute the missing rows and make the data serve them."""
        if stage != "fit":
            return
        module: FineTuner = pl_module  # type: ignore[assignment]
        data: Data = trainer.datamodule  # type: ignore[attr-defined]
        live = self._live(module, data, trainer)
        if self.required_by and (those := [split for split in self.required_by.splits if split in live]):
            what, instead, _ = self.required_by
            raise UserError(
                f"{what} trains on stored features, but those of {those[0]} are live ({live[those[0]]}): {instead}."
            )
        processes, bar = Processes.of(trainer), trainer.is_global_zero and self.show_progress
        how = Computing(
            data.reader, trainer.strategy.root_device, str(trainer.precision), data.num_workers, show_progress=bar
        )
        _refuse_differences(processes, data)
        if needed := [split for split in self.splits if split not in live or (self.probe and split != "test")]:
            rows = self._complete(needed, module.classifier, data, how, processes, live)
            for split in needed:
                if split not in live:
                    data.serve(split, rows[split])
            self.clock.lap("features_s")
            if self.probe:
                self._start_at_optimum(trainer, module, data, rows)
                self.clock.lap("probe_s")
        else:
            if processes.is_main and not self.quiet:
                say(None, Filled(0, 0), live)
            data.inspector.settle(set(), bar, processes)
            self.clock.lap("features_s")

    def _live(self, module: "FineTuner", data: Data, trainer: Trainer) -> dict[str, str]:
        """Return the splits whose features are computed anew in each epoch, with the reason."""
        mode = module.classifier.plan.mode
        if mode != "frozen":
            what = "adapters in the backbone" if mode == "lora" else "the backbone"
            return dict.fromkeys(data.splits, f"finetune={mode} trains {what}")
        if not self.cache.enabled and not self.required_by:
            return dict.fromkeys(data.splits, "cache.enabled=false")
        limits = {split: getattr(trainer, f"limit_{split}_batches") for split in data.splits}
        everything = 1.0  # of type float: the integer means one batch
        live = {
            split: f"trainer.limit_{split}_batches={limit}"
            for split, limit in limits.items()
            if not (isinstance(limit, float) and limit == everything)
        }
        live |= {"train": "mix blends its images"} if module.mix else {}
        live |= {"train": f"{type(module).__name__} needs its inputs"} if module.needs_inputs else {}
        return live | {split: "augment changes its images" for split in data.splits if data.is_augmented(split)}

    def _complete(
        self,
        needed: Sequence[str],
        model: Classifier,
        data: Data,
        how: Computing,
        processes: Processes,
        live: dict[str, str],
    ) -> dict[str, Rows]:
        """Compute the missing rows, shared among all processes, and return those of the needed splits."""
        rows = self.rows.of(data, model, how)
        self.found = sum(map(len, rows.values()))
        if lacking := [split for split in needed if split not in rows]:
            store = open_store(self.cache.dir, model.backbone, how, on_disk=self.cache.enabled)
            samples = [sample for split in lacking for sample in data.splits[split]]
            filled = complete(
                store, model.backbone, samples, how, data.inspector, processes, {} if self.quiet else live, self.quiet
            )
            self.found, self.computed = self.found + filled.found, filled.computed
            rows |= {split: rows_of(store, data.splits[split]) for split in lacking}
        return rows

    def _start_at_optimum(self, trainer: Trainer, module: "FineTuner", data: Data, rows: dict[str, Rows]) -> None:
        assert self.probe
        metric, mode = self.probe.monitor.removeprefix("val/"), self.probe.mode
        device = trainer.strategy.root_device  # where Lightning moves the module later
        head, loss = module.classifier.head.to(device), module.loss.to(device)
        train, val = (
            (rows[split][torch.arange(len(rows[split]))].to(device), data.targets(split).to(device))
            for split in ("train", "val")
        )

        def measured(outputs: Tensor, targets: Tensor) -> dict[str, float]:
            return data.task.metrics(data.task.rows(outputs, targets).cpu(), targets.cpu(), full=False)

        def ranked(outputs: Tensor, targets: Tensor) -> tuple[float, float]:
            values = measured(outputs, targets) if outputs.isfinite().all() else {metric: math.nan}
            return rank(values[metric], values.get("loss"), mode)

        weights = data.weights("train")
        of_train = weighted(loss, None if weights is None else weights.to(device))
        l2 = probe(head, train, val, of_train, ranked, STRENGTHS)
        if trainer.is_global_zero and not self.quiet:
            value = measured(outputs_of(head, val[0]), val[1])[metric]
            start = f"starts at its optimum for stored features: {metric} {value:.4f} on val with L2 {l2:g}"
            console.pairs(head=start)


def _refuse_differences(processes: Processes, data: Data) -> None:
    """Raise UserError in all processes if they left out different samples, as their splits would differ."""
    left_out = processes.gather({problem.path for problem in data.left_out})
    if differing := sorted(set[str]().union(*left_out) - left_out[0].intersection(*left_out)):
        number = number_of(len(differing), data.splits["train"][0].kind)
        raise UserError(
            f"{number} can be read by some processes of this run and not by others: "
            f"{name_few(differing)}. Start again; if it happens again, look at the disk they are on."
        )
