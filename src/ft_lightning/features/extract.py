"""Computes a frozen backbone's features, once per sample, for the feature store."""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from ft_lightning.backbones.backbone import VERSION, Backbone
from ft_lightning.data.datasets import InspectedDataset, collating, longest_first
from ft_lightning.features.store import FeatureStore
from ft_lightning.finetune import digest_of
from ft_lightning.model import Classifier
from ft_lightning.readers.sample import Inputs, Reader, Sample
from ft_lightning.system.console import sample_progress
from ft_lightning.system.errors import NumericalError, UserError, is_out_of_memory, number_of
from ft_lightning.system.hardware import autocast, casting_once, default_workers, moved, pick_device, pick_precision
from ft_lightning.system.versions import versions

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Computing:
    """How samples are read and features computed."""

    reader: Reader  # of the backbone, with the limits of the data
    device: torch.device
    precision: str  # as `system.hardware.pick_precision` gives it
    num_workers: int | None  # processes that read samples; None: chosen for this machine
    show_progress: bool = False

    @classmethod
    def chosen(
        cls, reader: Reader, device: str, precision: str, num_workers: int | None, show_progress: bool = False
    ) -> Self:
        """Choose the device and the precision that the keys `device` and `precision` name, such as auto."""
        picked = pick_device(device)
        return cls(reader, picked, pick_precision(precision, picked.type), num_workers, show_progress)

    def loader(self, samples: Sequence[Sample], batches: Sequence[list[int]]) -> DataLoader:
        """Return a loader of these batches of samples, by their positions; unusable samples are blank."""
        return DataLoader(
            InspectedDataset(samples, self.reader),
            batch_sampler=batches,
            num_workers=default_workers() if self.num_workers is None else self.num_workers,
            pin_memory=self.device.type == "cuda",
            generator=torch.Generator(),  # the state of the global one must not depend on what was to compute
            collate_fn=collating(self.reader),
        )


def open_store(root: str | None, backbone: Backbone, how: Computing, on_disk: bool = True) -> FeatureStore:
    """Open the store of this backbone's features computed in this way, below `root` or the user's cache directory."""
    identity, installed = asdict(backbone.identity), versions()
    described = {
        "backbone": {name: value for name, value in identity.items() if name != "weights"} | {"version": VERSION},
        "weights": digest_of(backbone.state_dict()),
        "reader": how.reader.key(),
        "view": "preprocess",  # no augmentation
        "dtype": str(_stored_dtype(how.precision, backbone)),
        "precision": how.precision,
        "device": how.device.type,
        "versions": {name: ".".join(installed[name].split(".")[:2]) for name in how.reader.libraries},
    }
    return FeatureStore(Path(str(root)).expanduser() if root else None, described, on_disk)


class Extractor:
    """Appends the features of samples to a store, computed by a backbone in eval mode."""

    def __init__(self, backbone: Backbone, store: FeatureStore, how: Computing) -> None:
        self.backbone = backbone
        self.store = store
        self.how = how
        # On two CPU cores 16 was the fastest for five networks, or as fast; 64 was up to twice as slow (CPU cache).
        self.batch_size = max(16, torch.get_num_threads()) if how.device.type == "cpu" else 256

    def compute(
        self, samples: Sequence[Sample], observe: Callable[[list[Sample], dict[str, Any]], None] | None = None
    ) -> None:
        """Compute every sample's features and append them to the store; an interruption keeps what is done.

        Args:
            observe: called with each batch and its samples; must handle unreadable ones. Without it they raise.
        """
        if not samples:
            return
        how = self.how
        loader = how.loader(samples, longest_first(samples, how.reader, self.batch_size))
        errors: list[str] = []
        with (
            in_eval_mode(self.backbone.to(how.device)),
            self.store.appending() as appender,
            torch.no_grad(),
            casting_once(self.backbone.to(how.device), how.device),
            sample_progress(how.show_progress) as progress,
        ):
            bar = progress.add_task("Features", total=len(samples))
            for batch in loader:
                rows = self._features(moved(batch["inputs"], how.device)).cpu()
                if observe:
                    observe([samples[i] for i in batch["index"]], batch)
                else:
                    errors += filter(None, batch["error"])
                readable = [i for i, error in enumerate(batch["error"]) if not error]
                self._refuse_non_finite(rows[readable])
                appender.add([samples[i].digest for i in batch["index"][readable]], rows[readable])
                progress.advance(bar, len(rows))
        if errors:
            raise UserError("\n".join([f"{number_of(len(errors), 'sample')} cannot be read:", *errors]))

    def _features(self, inputs: Inputs) -> Tensor:
        """Compute features (B, D); if memory runs out, halve the batch size from then on."""
        n = len(next(iter(inputs.values())) if isinstance(inputs, dict) else inputs)
        while True:
            try:
                pieces = [
                    self._forward(_part(inputs, slice(at, at + self.batch_size))) for at in range(0, n, self.batch_size)
                ]
                return torch.cat(pieces)
            except (MemoryError, RuntimeError) as error:
                if self.batch_size == 1 or not is_out_of_memory(error):
                    raise
            self.batch_size //= 2
            log.warning("Out of memory: features are computed %s at a time now.", number_of(self.batch_size, "sample"))
            if self.how.device.type == "cuda":
                torch.cuda.empty_cache()

    def _forward(self, inputs: Inputs) -> Tensor:
        with autocast(self.how.precision, self.how.device.type):
            return self.backbone(self.backbone.prepare(inputs)).to(_stored_dtype(self.how.precision, self.backbone))

    def _refuse_non_finite(self, rows: Tensor) -> None:
        if broken := int((~rows.isfinite()).any(1).sum()):
            raise NumericalError(
                f"The backbone's features of {broken} of {number_of(len(rows), 'sample')} are not finite at "
                f"precision={self.how.precision}: "
                + ("its weights are broken." if self.how.precision == "32-true" else "use precision=32-true.")
            )


def _part(inputs: Inputs, rows: slice) -> Inputs:
    return {name: value[rows] for name, value in inputs.items()} if isinstance(inputs, dict) else inputs[rows]


@contextmanager
def in_eval_mode(network: nn.Module) -> Iterator[None]:
    """Put a whole network into eval mode for the block, then restore the mode of each module."""
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        yield
    finally:
        if any(modes.values()):
            network.train()  # drops the tensors that some networks derive from their weights and cache in eval mode
        for module, training in modes.items():
            module.training = training


@torch.no_grad()
def samples_per_s(classifier: Classifier, device: torch.device, precision: str) -> float:
    """Measure for about a second how many samples per second pass through the network in eval mode, without reading."""
    n = 16 if device.type == "cpu" else 256
    inputs = moved(classifier.backbone.example(n), device)
    classifier.to(device).eval()
    rounds, start = 0, 0.0
    with autocast(precision, device.type):
        while rounds < 2 or time.perf_counter() - start < 1:
            classifier(inputs).sum().item()  # waits for the device
            start, rounds = (start or time.perf_counter()), rounds + 1  # the first round warms up
    return n * (rounds - 1) / (time.perf_counter() - start)


def _stored_dtype(precision: str, backbone: Backbone) -> torch.dtype:
    if getattr(backbone, "sums", False):  # losses, of which half precision would keep two digits
        return torch.float32
    # Independent of what a network returns under autocast; float16 would overflow where it returns float32.
    return torch.bfloat16 if precision == "bf16-mixed" else torch.float32
