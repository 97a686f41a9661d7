"""What fills the feature store, and what lets a run train from it: the frozen part is computed once per sample."""

import hashlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.fabric.utilities import move_data_to_device
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities.memory import is_oom_error
from lightning_utilities.core.apply_func import apply_to_collection
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from ft_lightning.datasets import default_workers
from ft_lightning.errors import NumericalError, UserError
from ft_lightning.hardware import autocast
from ft_lightning.model import Classifier
from ft_lightning.progress import sample_progress
from ft_lightning.results import versions
from ft_lightning.store import FeatureStore

FORMAT = 1  # raised when reading or preparing a sample changes what its features are

log = logging.getLogger(__name__)


def open_store(root: str | None, backbone: Any, precision: str, device: str, on_disk: bool = True) -> FeatureStore:
    """The store of the features that this backbone computes in this precision on this type of device."""
    identity = asdict(backbone.identity)
    described = {
        "format": FORMAT,
        "backbone": {name: value for name, value in identity.items() if name != "weights"},
        "weights": _weights_digest(backbone),
        "preprocess": backbone.preprocess.to_dict(),
        "view": "preprocess",  # no augmentation
        "dtype": str(_stored_dtype(precision)),
        "precision": precision,
        "device": device,
        "versions": {
            name: ".".join(version.split(".")[:2])
            for name, version in versions().items()
            if name in ("torch", "torchvision", "timm", "pillow")
        },
    }
    return FeatureStore(Path(root).expanduser() if root else None, described, on_disk)


@dataclass
class Extractor:
    """Computes what a store lacks: `classifier.features` of a dataset's samples, in eval mode.

    Args:
        device, precision: what to compute on, as `hardware.autocast` takes them.
        num_workers: processes that read samples; None for what suits the machine.
        show_progress: a bar with samples a second and the time left.
    """

    classifier: Classifier
    store: FeatureStore
    device: torch.device
    precision: str
    num_workers: int | None
    show_progress: bool

    def __post_init__(self) -> None:
        # On two CPU cores 16 was the fastest or equal for five networks, 64 up to twice as slow: the cache is full.
        self.batch_size = max(16, torch.get_num_threads()) if self.device.type == "cpu" else 256

    def complete(
        self, digests: Sequence[str], dataset_of: Callable[[list[int]], Dataset], share: tuple[int, int] = (0, 1)
    ) -> None:
        """Compute what the store lacks of these samples, or of what is missing this process's share.

        Args:
            dataset_of: positions in `digests` -> the dataset of those samples, as `compute` takes it.
            share: rank and number of those who share the work.
        """
        rank, world_size = share
        if missing := self.store.locate(digests).missing[rank::world_size]:
            self.compute(dataset_of(missing), [digests[i] for i in missing])

    def compute(self, dataset: Dataset, digests: Sequence[str]) -> None:
        """Append the features of every sample to the store; what was computed when this is stopped stays there.

        Args:
            dataset: `{"inputs", "index", "error"}` of each sample.
            digests: of each sample, by index.

        Raises:
            UserError: names every sample that cannot be read, after the others were computed.
            NumericalError: features that are not finite.
        """
        workers = default_workers() if self.num_workers is None else self.num_workers
        cuda = self.device.type == "cuda"
        generator = torch.Generator()  # the global one would go on elsewhere when there was something to compute
        loader = DataLoader(dataset, self.batch_size, num_workers=workers, pin_memory=cuda, generator=generator)
        errors: list[str] = []
        was_training = self.classifier.training
        self.classifier.to(self.device).eval()
        with self.store.appending() as appender, torch.no_grad(), sample_progress(self.show_progress) as progress:
            bar = progress.add_task("Features", total=len(digests))
            for batch in loader:
                rows = self._features(move_data_to_device(batch["inputs"], self.device)).cpu()
                errors += filter(None, batch["error"])
                readable = [i for i, error in enumerate(batch["error"]) if not error]
                self._refuse_non_finite(rows[readable])
                appender.add([digests[i] for i in batch["index"][readable]], rows[readable])
                progress.advance(bar, len(rows))
        self.classifier.train(was_training)
        refuse_unreadable(errors)

    def _features(self, inputs: Any) -> Tensor:
        """(B, D); where memory runs out, in smaller pieces from then on."""
        n = len(next(iter(inputs.values())) if isinstance(inputs, dict) else inputs)
        while True:
            try:
                pieces = [
                    self._forward(apply_to_collection(inputs, Tensor, lambda t, at=at: t[at : at + self.batch_size]))
                    for at in range(0, n, self.batch_size)
                ]
                return torch.cat(pieces)
            except (MemoryError, RuntimeError) as error:
                if self.batch_size == 1 or not (
                    isinstance(error, MemoryError | torch.OutOfMemoryError) or is_oom_error(error)
                ):
                    raise
            self.batch_size //= 2
            log.warning("Out of memory: features are computed %d samples at a time now.", self.batch_size)
            if self.device.type == "cuda":
                torch.cuda.empty_cache()

    def _forward(self, inputs: Any) -> Tensor:
        with autocast(self.precision, self.device.type):
            return self.classifier.features(inputs).to(_stored_dtype(self.precision))

    def _refuse_non_finite(self, rows: Tensor) -> None:
        if broken := int((~rows.isfinite()).any(1).sum()):
            raise NumericalError(
                f"The backbone's features of {broken} of {len(rows)} samples are not finite at "
                f"precision={self.precision}: use precision=32-true."
            )


def refuse_unreadable(errors: list[str]) -> None:
    """Raise UserError with all of them, if there are any."""
    if errors:
        raise UserError("\n".join([f"{len(errors)} images cannot be read:", *errors]))


class StoredFeatures(Callback):
    """Lets a run train, validate and test on stored features wherever that changes nothing but its speed.

    Lightning calls `setup` in every process before any loader exists, with device and process group ready.

    Args:
        enabled: False computes everything live.
        root: as in `open_store`.
        needed_by: the optimizer that cannot train on live features, or None.
        tell: called in the main process with the store, the samples found in it, those to compute, and the reasons for
            what is live by split.
        ready: called when every row is there.
    """

    def __init__(
        self,
        enabled: bool,
        root: str | None,
        needed_by: str | None,
        tell: Callable[..., None],
        ready: Callable[[], None],
    ) -> None:
        self.enabled = enabled
        self.root = root
        self.needed_by = needed_by
        self.tell = tell
        self.ready = ready
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
        live = self._live(classifier.plan.mode, data, trainer)
        if self.needed_by and "train" in live:
            raise UserError(
                f"optimizer={self.needed_by} trains on stored features, but those of train are live "
                f"({live['train']}): use optimizer=adam."
            )
        if stored := [split for split in data.splits if split not in live]:
            device, precision = trainer.strategy.root_device, str(trainer.precision)
            store = open_store(self.root, classifier.backbone, precision, device.type, on_disk=self.enabled)
            bar = trainer.is_global_zero and trainer.progress_bar_callback is not None
            extractor = Extractor(classifier, store, device, precision, data.num_workers, bar)
            self._provide(extractor, trainer, data, stored, live)
        elif trainer.is_global_zero:
            self.tell(None, 0, 0, live)
        self.ready()

    def _live(self, mode: str, data: Any, trainer: Trainer) -> dict[str, str]:
        """The splits whose features are computed anew in each epoch, and why."""
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
        return live | {split: "augment changes its pictures" for split in data.splits if data.is_augmented(split)}

    def _provide(
        self, extractor: Extractor, trainer: Trainer, data: Any, stored: list[str], live: dict[str, str]
    ) -> None:
        samples = {sample.digest: sample for split in stored for sample in data.splits[split]}
        digests = list(samples)
        missing = len(extractor.store.locate(digests).missing)
        self.found, self.computed = len(digests) - missing, missing
        if trainer.is_global_zero:
            self.tell(extractor.store, self.found, self.computed, live)
        trainer.strategy.barrier()  # so that no process sees what another one has already added, and shares are even
        for share in _shares(trainer):
            extractor.complete(digests, lambda at: data.unaugmented([samples[digests[i]] for i in at]), share)
            trainer.strategy.barrier()
            extractor.store.refresh()
        for split in stored:
            data.features[split] = extractor.store.locate([sample.digest for sample in data.splits[split]]).settled()


def _shares(trainer: Trainer) -> list[tuple[int, int]]:
    """Each process its share; then, where machines have no disk in common, each machine's; then whatever is left."""
    if trainer.world_size == 1:
        return [(0, 1)]
    return [(trainer.global_rank, trainer.world_size), (trainer.local_rank, trainer.num_devices), (0, 1)]


def _stored_dtype(precision: str) -> torch.dtype:
    # Whatever a network returns under autocast; float16 would overflow where a network returns float32.
    return torch.bfloat16 if precision == "bf16-mixed" else torch.float32


def _weights_digest(backbone: nn.Module) -> str:
    """sha256 over names, types, shapes and bytes of all parameters and buffers."""
    digest = hashlib.sha256()
    for name, value in sorted(backbone.state_dict().items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
