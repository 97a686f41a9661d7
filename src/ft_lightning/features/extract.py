"""What fills the feature store: the frozen part is computed once per sample."""

import hashlib
import inspect
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.utilities import move_data_to_device
from lightning.pytorch.utilities.memory import is_oom_error
from lightning_utilities.core.apply_func import apply_to_collection
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ft_lightning.features.store import FeatureStore
from ft_lightning.finetune import digest_of
from ft_lightning.model import Classifier
from ft_lightning.system.console import sample_progress
from ft_lightning.system.errors import NumericalError, UserError
from ft_lightning.system.hardware import autocast, default_workers
from ft_lightning.system.versions import versions

log = logging.getLogger(__name__)


def open_store(root: str | None, backbone: Any, precision: str, device: str, on_disk: bool = True) -> FeatureStore:
    """The store of the features that this backbone computes in this precision on this type of device."""
    identity = asdict(backbone.identity)
    described = {
        "code": _code_digest(backbone),
        "backbone": {name: value for name, value in identity.items() if name != "weights"},
        "weights": digest_of(backbone.state_dict()),
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
    return FeatureStore(Path(str(root)).expanduser() if root else None, described, on_disk)


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
        self,
        digests: Sequence[str],
        dataset_of: Callable[[list[int]], Dataset],
        share: tuple[int, int] = (0, 1),
        observe: Callable[[list[int], dict[str, Any]], None] | None = None,
    ) -> None:
        """Compute what the store lacks of these samples, or of what is missing this process's share.

        Args:
            dataset_of: positions in `digests` -> the dataset of those samples, as `compute` takes it.
            share: rank and number of those who share the work.
            observe: (positions, batch) hears of what was read, and answers for what cannot be; None: that is an error.
        """
        rank, world_size = share
        missing = self.store.locate(digests).missing[rank::world_size]

        def hear(batch: dict[str, Any]) -> None:
            if observe:
                observe([missing[i] for i in batch["index"]], batch)

        if missing:
            self.compute(dataset_of(missing), [digests[i] for i in missing], hear if observe else None)

    def compute(
        self, dataset: Dataset, digests: Sequence[str], observe: Callable[[dict[str, Any]], None] | None = None
    ) -> None:
        """Append the features of every sample to the store; what was computed when this is stopped stays there.

        Args:
            dataset: `{"inputs", "index", "error"}` of each sample.
            digests: of each sample, by index.
            observe: hears of each batch and answers for what cannot be read.

        Raises:
            UserError: names every sample that cannot be read, after the others were computed; not with `observe`.
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
                if observe:
                    observe(batch)
                else:
                    errors += filter(None, batch["error"])
                readable = [i for i, error in enumerate(batch["error"]) if not error]
                self._refuse_non_finite(rows[readable])
                appender.add([digests[i] for i in batch["index"][readable]], rows[readable])
                progress.advance(bar, len(rows))
        self.classifier.train(was_training)
        if errors:
            raise UserError("\n".join([f"{len(errors)} samples cannot be read:", *errors]))

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
                f"precision={self.precision}: "
                + ("its weights are broken." if self.precision == "32-true" else "use precision=32-true.")
            )


@torch.no_grad()
def samples_per_s(classifier: Classifier, device: torch.device, precision: str) -> float:
    """How many pictures a second go through the network in eval mode, without reading them: for about a second."""
    n = 16 if device.type == "cpu" else 256
    inputs = torch.zeros(n, 3, *classifier.backbone.preprocess.crop, dtype=torch.uint8, device=device)
    classifier.to(device).eval()
    rounds, start = 0, 0.0
    with autocast(precision, device.type):
        while rounds < 2 or time.perf_counter() - start < 1:
            classifier(inputs).sum().item()  # waits for the device
            start, rounds = (start or time.perf_counter()), rounds + 1  # the first one warms up
    return n * (rounds - 1) / (time.perf_counter() - start)


def _stored_dtype(precision: str) -> torch.dtype:
    # Whatever a network returns under autocast; float16 would overflow where a network returns float32.
    return torch.bfloat16 if precision == "bf16-mixed" else torch.float32


def _code_digest(backbone: Any) -> str:
    """sha256 of the files that read, prepare and pass on a sample: who edits one must not get the old features."""
    modules = ["ft_lightning.readers.images", "ft_lightning.readers.preprocess", type(backbone).__module__]
    sources = [inspect.getsource(import_module(name)) for name in modules]
    return hashlib.sha256("".join(sources).encode()).hexdigest()
