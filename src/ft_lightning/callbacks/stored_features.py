"""What lets a run train from the feature store: the callback that completes it and has the datamodule serve it."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from ft_lightning.features.extract import Extractor, open_store
from ft_lightning.features.store import FeatureStore, Rows
from ft_lightning.heads import probe
from ft_lightning.readers.sample import Sample
from ft_lightning.system.distributed import gather_objects
from ft_lightning.system.errors import NumericalError, UserError, some


class KeptRows:
    """Rows by split that several fits of one process have in common, for the last dataset and frozen backbone."""

    def __init__(self) -> None:
        self._for: tuple[Any, ...] = ()
        self._rows: dict[str, Rows] = {}

    def of(self, data: Any, classifier: Any, precision: str, device: str) -> dict[str, Rows]:
        """What is kept for these, to be added to."""
        if classifier.plan.mode != "frozen":  # its features will not be those of its backbone any more
            return {}
        now = (data, classifier.backbone, precision, device)
        if not self._for or any(a is not b and a != b for a, b in zip(self._for, now, strict=True)):
            self._for, self._rows = now, {}
        return self._rows


class StoredFeatures(Callback):
    """Lets a run train, validate and test on stored features wherever that changes nothing but its speed.

    Lightning calls `setup` in every process before any loader exists, with device and process group ready.

    Args:
        cache: `enabled` (False computes everything live) and `dir`, as in `features.open_store`.
        splits: those that will be looked at.
        needed_by: what cannot train on live features, and what to do instead; or None.
        probe: start the head at its optimum for stored features of train, whatever trains afterwards.
        show_progress: a bar while features are computed.
        tell: hears of the store before and after it is completed, in the main process.
        ready: called when every row is there and the head is where it starts from.
        kept: rows of earlier fits, and where those of this one are kept.
    """

    def __init__(
        self,
        cache: Any,
        splits: Sequence[str],
        needed_by: tuple[str, str] | None,
        probe: bool,
        show_progress: bool,
        tell: Any,
        ready: Callable[[], None],
        kept: "KeptRows",
    ) -> None:
        self.enabled: bool = cache.enabled
        self.root: str | None = cache.dir
        self.splits = splits
        self.needed_by = needed_by
        self.probe = probe
        self.show_progress = show_progress
        self.tell = tell
        self.ready = ready
        self.kept = kept
        self.found = self.computed = 0

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Compute what is missing and have the datamodule serve the rows.

        Raises:
            UserError: the optimizer needs stored features of train, which this run computes live.
        """
        if stage != "fit":
            return
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        data.features.clear()  # of an earlier fit, perhaps of another backbone
        classifier: Any = pl_module.classifier
        live = self._live(pl_module, data, trainer)
        if self.needed_by and "train" in live:
            what, instead = self.needed_by
            raise UserError(
                f"{what} trains on stored features, but those of train are live ({live['train']}): {instead}."
            )
        needed = [split for split in self.splits if split not in live or (self.probe and split != "test")]
        bar = trainer.is_global_zero and self.show_progress
        _refuse_differences(trainer, data)
        if needed:
            device, precision = trainer.strategy.root_device, str(trainer.precision)
            rows = self.kept.of(data, classifier, precision, device.type)
            self.found = sum(len(rows[split]) for split in rows)
            if lacking := [split for split in needed if split not in rows]:
                store = open_store(self.root, classifier.backbone, precision, device.type, on_disk=self.enabled)
                extractor = Extractor(classifier, store, device, precision, data.num_workers, bar)
                rows |= self._complete(extractor, trainer, data, lacking, live)
            data.features |= {split: rows[split] for split in needed if split not in live}
            if self.probe:
                self._start_at_optimum(trainer, pl_module, data, rows)
        else:
            if trainer.is_global_zero:
                self.tell.features(None, 0, 0, live)
            _check_images(trainer, data, set(), bar)
        self.ready()

    def _live(self, module: Any, data: Any, trainer: Trainer) -> dict[str, str]:
        """The splits whose features are computed anew in each epoch, and why."""
        mode = module.classifier.plan.mode
        if mode != "frozen":
            return dict.fromkeys(data.splits, f"finetune={mode} trains the backbone")
        if not self.enabled and not self.needed_by:
            return dict.fromkeys(data.splits, "cache.enabled=false")
        limits = {split: getattr(trainer, f"limit_{split}_batches") for split in data.splits}
        everything = 1.0  # of type float: the integer means one batch
        live = {
            split: f"trainer.limit_{split}_batches={limit}"
            for split, limit in limits.items()
            if not (isinstance(limit, float) and limit == everything)
        }
        live |= {"train": "mix blends its pictures"} if module.mix else {}
        return live | {split: "augment changes its pictures" for split in data.splits if data.is_augmented(split)}

    def _complete(
        self, extractor: Extractor, trainer: Trainer, data: Any, needed: list[str], live: dict[str, str]
    ) -> dict[str, Rows]:
        """Rows of the splits that are needed, after all processes together have computed what was missing."""
        store: FeatureStore = extractor.store
        samples = {sample.digest: sample for split in needed for sample in data.splits[split]}
        digests = list(samples)

        def picked(at: list[int]) -> list[Sample]:
            return [samples[digests[i]] for i in at]

        def learn(at: list[int], batch: dict[str, Any]) -> None:
            data.check.learn_batch(picked(at), batch)

        missing = store.locate(digests).missing
        self.found, self.computed = self.found + len(digests) - len(missing), len(missing)
        if trainer.is_global_zero:
            self.tell.features(store, len(digests) - len(missing), len(missing), live)
        # Waits for all, so that no process sees what another one has already added, and shares are even.
        _check_images(trainer, data, {digests[i] for i in missing}, extractor.show_progress)
        for share in _shares(trainer):
            error = None
            try:
                extractor.complete(digests, lambda at: data.unaugmented(picked(at)), share, learn)
            except (UserError, NumericalError) as own:
                error = own
            finally:
                data.check.flush()
            _raise_in_all(trainer, error)
            data.check.share(lambda own: gather_objects(own, trainer.world_size))
            data.refuse_problems()
            store.refresh()
        return {split: store.locate([sample.digest for sample in data.splits[split]]).settled() for split in needed}

    def _start_at_optimum(self, trainer: Trainer, module: Any, data: Any, rows: dict[str, Rows]) -> None:
        device = trainer.strategy.root_device  # where Lightning moves the module later
        head, loss = module.classifier.head.to(device), module.loss.to(device)
        train, val = (
            (rows[split][torch.arange(len(rows[split]))].to(device), data.targets(split).to(device))
            for split in ("train", "val")
        )
        accuracy, l2 = probe(head, train, val, loss)
        if trainer.is_global_zero:
            self.tell.probe(accuracy, l2)


def _check_images(trainer: Trainer, data: Any, later: set[str], show_progress: bool) -> None:
    """Have all processes together decode what nothing else will, and refuse what cannot be used; waits for all.

    Args:
        later: digests of what the feature pass will decode; decoded now if anything is wrong, to be told with it.
    """

    def look(samples: list[Sample]) -> None:
        # By digest: what is unknown may differ between processes, of which some knew more.
        mine = [s for s in samples if int(s.digest[:8], 16) % trainer.world_size == trainer.global_rank]
        data.check.look(mine, show_progress)
        data.check.share(lambda own: gather_objects(own, trainer.world_size))

    unknown = data.check.unknown([sample for samples in data.splits.values() for sample in samples])
    look([sample for sample in unknown if sample.digest not in later])
    if data.check.problems(data.splits):
        look([sample for sample in unknown if sample.digest in later])
    data.refuse_problems()


def _refuse_differences(trainer: Trainer, data: Any) -> None:
    """Raise UserError in all processes if they left out different pictures: their splits would not fit together."""
    left_out = [
        {problem.path for problem in problems} for problems in gather_objects(data.left_out, trainer.world_size)
    ]
    if differing := sorted(set.union(*left_out) - set.intersection(*left_out)):
        raise UserError(
            f"{len(differing)} images can be read by some processes of this run and not by others: {some(differing)}. "
            "Start again; if it happens again, look at the disk they are on."
        )


def _raise_in_all(trainer: Trainer, error: UserError | NumericalError | None) -> None:
    """Wait for all processes; if any had an error, raise all of them in each: nobody waits for one that has left."""
    if errors := [error for error in gather_objects(error, trainer.world_size) if error]:
        raise type(errors[0])("\n".join(str(error) for error in errors))


def _shares(trainer: Trainer) -> list[tuple[int, int]]:
    """Each process its share; then, where machines have no disk in common, each machine's; then whatever is left."""
    if trainer.world_size == 1:
        return [(0, 1)]
    return [(trainer.global_rank, trainer.world_size), (trainer.local_rank, trainer.num_devices), (0, 1)]
