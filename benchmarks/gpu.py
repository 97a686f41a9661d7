"""What a GPU does with images: a feature pass, reading and the network alone; a step of full fine-tuning, and peers'.

    python benchmarks/gpu.py                                    # four minutes on one GPU with 16 cores
    python benchmarks/gpu.py --images 64 --steps 2 --batch-size 16 model=timm model.name=test_resnet model.weights=null

The pass is the project's own, over --images photographs of 500 x 375 pixels with a cold store; reading alone is its
loader without a network, the network alone the same forward pass over one batch that lies on the device. The steps are
`train` with finetune=full, a plain loop as timm's and plain Lightning, all in bf16, channels_last where the device has
them, Adam, over the same files with as many processes that read. Prints a table and writes gpu.json into --out.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from common import photographs, report, tutorial_data, tutorial_network
from finetune import NO_DOWNLOAD, configured, images_per_s, now, our_steps
from hydra.utils import instantiate
from lightning import LightningModule, Trainer
from omegaconf import DictConfig
from torch import Tensor, nn
from torch.utils.data import DataLoader

from ft_lightning.data.datasets import InspectedDataset, collating
from ft_lightning.data.labels import Labels
from ft_lightning.data.scan import scan
from ft_lightning.data.sources import find_images
from ft_lightning.features.extract import Computing, Extractor, open_store
from ft_lightning.readers.sample import Sample
from ft_lightning.system.hardware import autocast, default_workers, pick_device, pick_precision

DEVICE = pick_device("auto")
PRECISION = pick_precision("auto", DEVICE.type)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overrides", nargs="*", default=NO_DOWNLOAD, help="of train; default: %(default)s")
    parser.add_argument("--out", type=Path, default=Path("outputs/gpu"))
    parser.add_argument("--images", type=int, default=4096)
    parser.add_argument("--batch-size", type=int, default=128, help="of the steps")
    parser.add_argument("--steps", type=int, default=20, help="steps that count")
    parser.add_argument("--warmup", type=int, default=5, help="steps before them")
    options = parser.parse_args()
    counts = {"train": max(options.images, options.batch_size * (options.warmup + options.steps)), "val": 2, "test": 2}
    root = photographs(options.out / "photographs", counts)
    cfg = configured(root, "auto", options)
    rows = [*passes(cfg, root, options.images), *steps(cfg, root, options)]
    report(options.out, "gpu", rows)


def passes(cfg: DictConfig, root: Path, count: int) -> Iterator[dict[str, Any]]:
    """Measure the feature pass, and its two halves alone."""
    backbone = instantiate(cfg.model)
    how = Computing(backbone.reader, DEVICE, PRECISION, None, show_progress=False)
    samples = scan(find_images, str(root / "train"), None, Labels())[:count]
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(folder, backbone, how)
        extractor = Extractor(backbone, store, how)
        extractor.compute(samples[: extractor.batch_size])  # a warm-up, which also chooses algorithms
        rate = len(samples) / seconds(lambda: extractor.compute(samples))
        whole = row("feature pass", rate, rate)
    yield whole
    yield row(
        "reading alone", len(samples) / seconds(lambda: read(samples, backbone.reader, extractor.batch_size)), rate
    )
    pixels = torch.randint(0, 256, (extractor.batch_size, 3, *backbone.preprocess.crop), dtype=torch.uint8).to(DEVICE)

    @torch.no_grad()
    def forward() -> None:
        for _ in range(max(1, count // len(pixels))):
            with autocast(PRECISION, DEVICE.type):
                backbone(backbone.prepare(pixels))

    backbone.eval()
    forward()
    yield row("network alone", max(1, count // len(pixels)) * len(pixels) / seconds(forward), rate)


def read(samples: list[Sample], reader: Any, batch_size: int) -> None:
    loader = DataLoader(
        InspectedDataset(samples, reader), batch_size, num_workers=default_workers(), collate_fn=collating(reader)
    )
    for _ in loader:
        pass


def steps(cfg: DictConfig, root: Path, options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Measure a step of full fine-tuning, ours first."""
    contestants: dict[str, Callable[[], list[float]]] = {
        "train, full": lambda: our_steps(cfg),
        "plain loop, full": lambda: list(plain_steps(cfg, root)),
        "plain Lightning, full": lambda: lightning_steps(cfg, root),
    }
    ours = None
    for name, run in contestants.items():
        rate = images_per_s(run(), options)
        ours = ours or rate
        yield row(name, rate, ours)


def network_and_loader(cfg: DictConfig, root: Path) -> tuple[nn.Module, DataLoader]:
    backbone = instantiate(cfg.model)
    network = tutorial_network(backbone).to(DEVICE).to(memory_format=torch.channels_last)
    data = tutorial_data(root, "train", backbone.preprocess)
    workers = default_workers()
    return network, DataLoader(
        data, cfg.data.batch_size, shuffle=True, num_workers=workers, pin_memory=DEVICE.type == "cuda"
    )


def plain_steps(cfg: DictConfig, root: Path) -> Iterator[float]:
    network, loader = network_and_loader(cfg, root)
    network.train()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-4)
    for inputs, targets in loader:
        placed = inputs.to(DEVICE, non_blocking=True, memory_format=torch.channels_last)
        with autocast(PRECISION, DEVICE.type):
            loss = nn.functional.cross_entropy(network(placed), targets.to(DEVICE, non_blocking=True))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        yield now()


def lightning_steps(cfg: DictConfig, root: Path) -> list[float]:
    times: list[float] = []

    class Tutorial(LightningModule):
        def __init__(self, network: nn.Module) -> None:
            super().__init__()
            self.network = network

        def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
            inputs = batch[0].to(memory_format=torch.channels_last)
            return nn.functional.cross_entropy(self.network(inputs), batch[1])

        def on_train_batch_end(self, *_: Any) -> None:
            times.append(now())

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.Adam(self.network.parameters(), lr=1e-4)

    network, loader = network_and_loader(cfg, root)
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = Trainer(max_epochs=1, precision=PRECISION, devices=1, enable_model_summary=False, **quiet)  # type: ignore[arg-type]
    trainer.fit(Tutorial(network), loader)
    return times


def seconds(run: Callable[[], Any]) -> float:
    start = now()
    run()
    return now() - start


def row(name: str, rate: float, ours: float) -> dict[str, Any]:
    """Build a row with the peak of the device's memory since the last one."""
    peak = None
    if torch.cuda.is_available():
        peak = torch.cuda.max_memory_allocated() / 2**20
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    return {"what": name, "images/s": rate, "ours/this": ours / rate, "peak MB": peak}


if __name__ == "__main__":
    start = time.perf_counter()
    main()
    print(f"{time.perf_counter() - start:.0f} s")
