"""Full fine-tuning: images trained on per second, ours and a tutorial's plain loop, side by side.

    python benchmarks/finetune.py                                          # ResNet-50: two minutes on two cores
    python benchmarks/finetune.py model=vit_b_16 model.weights=null        # any override of train
    python benchmarks/finetune.py --steps 50 --batch-size 128 model=resnet50 model.weights=null data.num_workers=8

Every parameter trains. The plain loop computes in float32 and NCHW, reads with DataLoader's defaults and puts the
network into train mode, BatchNorm included. Ours is the project's own `train`, once with precision=auto and once in
float32; by default it keeps BatchNorm's statistics (finetune.freeze_bn=false lets them follow as well).
Reading, preprocessing, forward, backward and Adam's step all count; the first steps do not. Prints a table and writes
finetune.json into --out.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from common import photographs, report, tutorial_loader, tutorial_network
from hydra.utils import instantiate
from lightning import Callback, LightningModule, Trainer
from omegaconf import DictConfig

from ft_lightning.cli.compose import compose
from ft_lightning.system.hardware import pick_device, pick_precision
from ft_lightning.train import train

NO_DOWNLOAD = ["model=resnet50", "model.weights=null"]  # random values train as fast as pretrained ones


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overrides", nargs="*", default=NO_DOWNLOAD, help="of train; default: %(default)s")
    parser.add_argument("--out", type=Path, default=Path("outputs/finetune"))
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--steps", type=int, default=5, help="steps that count")
    parser.add_argument("--warmup", type=int, default=2, help="steps before them")
    options = parser.parse_args()
    # One epoch holds all steps, so that no validation falls between them.
    images = options.batch_size * (options.warmup + options.steps)
    root = photographs(options.out / "photographs", {"train": images, "val": 2, "test": 2})
    cfg = configured(root, "auto", options)
    plain = images_per_s(plain_steps(cfg, root), options)
    rows = [row("plain loop", cfg, "32-true", plain, plain)]
    auto = pick_precision("auto", pick_device("auto").type)
    for precision in dict.fromkeys((auto, "32-true")):
        rate = images_per_s(our_steps(configured(root, precision, options)), options)
        rows.append(row("ours", cfg, precision, rate, plain))
    report(options.out, "finetune", rows)


def configured(root: Path, precision: str, options: argparse.Namespace) -> DictConfig:
    sizes = [f"data.batch_size={options.batch_size}", "trainer.max_epochs=1", "trainer.enable_progress_bar=false"]
    place = ["data=image_folder", f"data.root={root.absolute()}", f"precision={precision}"]
    clock = f"+callback.clock._target_={Clock.__module__}.Clock"
    return compose("train", "finetune=full", *place, *sizes, clock, *options.overrides)


def plain_steps(cfg: DictConfig, root: Path) -> Iterator[float]:
    """Time each step of a tutorial's training loop."""
    device = pick_device("auto")
    backbone = instantiate(cfg.model)
    network = tutorial_network(backbone).to(device)
    network.train()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-4)
    for inputs, targets in tutorial_loader(root, "train", backbone.preprocess, cfg.data.batch_size):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(network(inputs.to(device)), targets.to(device))
        loss.backward()
        optimizer.step()
        yield now()


def our_steps(cfg: DictConfig) -> list[float]:
    """Time each step of this project's `train`."""
    with tempfile.TemporaryDirectory() as folder:
        train(cfg, Path(folder))
        return json.loads((Path(folder) / "steps.json").read_text())


class Clock(Callback):
    """Writes the time after each step into the run's folder."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def on_train_batch_end(self, *_: Any) -> None:
        self.times.append(now())

    def on_train_end(self, trainer: Trainer, module: LightningModule) -> None:
        (Path(trainer.default_root_dir) / "steps.json").write_text(json.dumps(self.times))


def now() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def images_per_s(steps: Iterator[float] | list[float], options: argparse.Namespace) -> float:
    times = list(steps)
    return options.batch_size * options.steps / (times[-1] - times[options.warmup - 1])


def row(who: str, cfg: DictConfig, precision: str, rate: float, plain: float) -> dict[str, Any]:
    return {
        "run": who,
        "model": cfg.model.name,
        "precision": precision,
        "batch": cfg.data.batch_size,
        "s per step": cfg.data.batch_size / rate,
        "images/s": rate,
        "ours/plain": rate / plain,
    }


if __name__ == "__main__":
    main()
