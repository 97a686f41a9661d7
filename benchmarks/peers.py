"""A frozen ResNet-50 with a new head: seconds until trained and tested, ours and what else people use, side by side.

    python benchmarks/peers.py                                    # two minutes on two cores; scikit-image is needed
    python benchmarks/peers.py --train 400 --val 100 --test 100   # steadier figures
    pip install transformers accelerate fastai                    # the peers that are not ours to install

All have the same photographs, random weights, batch size and epochs, validate after each epoch and test once. The
peers compute in float32, their loaders have defaults, and their epochs are alike, so few are measured (--measured) and
multiplied. Ours is the command `python -m ft_lightning.train`: cold with an empty cache, then warm with another
learning rate. Imports and building the network do not count. Prints a table and writes peers.json into --out.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from common import Seconds, photographs, report, run_and_watch, tutorial_data, tutorial_loader, tutorial_network
from hydra.utils import instantiate
from lightning import LightningModule, Trainer
from torch import Tensor, nn
from torchvision.models import resnet50

from ft_lightning.cli.compose import compose


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("outputs/peers"))
    for split, count in (("train", 160), ("val", 40), ("test", 40)):
        parser.add_argument(f"--{split}", type=int, default=count, help=f"images in {split}")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--measured", type=int, default=1, help="epochs that the peers really run")
    options = parser.parse_args()
    counts = {split: getattr(options, split) for split in ("train", "val", "test")}
    root = photographs(options.out / "photographs", counts).absolute()
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "resnet50.pt"
        torch.save(resnet50().state_dict(), weights)
        rows = ours(root, weights, options, {"cold": 2e-2, "warm": 1e-2})
        rows += [peer_row(name, root, weights, options) for name in PEERS]
    cold = rows[0]["total s"]
    report(options.out, "peers", [row | {"to ours cold": row["total s"] and row["total s"] / cold} for row in rows])


def ours(root: Path, weights: Path, options: argparse.Namespace, rates: dict[str, float]) -> list[dict[str, Any]]:
    """Run the command once for each rate, on one feature store that is empty at first; return a row for each.

    Args:
        rates: name of the run -> its learning rate.
    """
    rows = []
    for name, rate in rates.items():
        run_dir = weights.parent / name.replace(" ", "_")
        command = [sys.executable, "-m", "ft_lightning.train", "model=resnet50", f"model.weights={weights}"]
        command += ["data=image_folder", f"data.root={root}", f"data.batch_size={options.batch_size}"]
        command += ["optimizer=adam", f"optimizer.lr={rate}", f"trainer.max_epochs={options.epochs}"]
        command += [f"precision={getattr(options, 'precision', 'auto')}", f"cache.dir={weights.parent / 'cache'}"]
        peak = run_and_watch([*command, "trainer.enable_progress_bar=false", f"hydra.run.dir={run_dir}"])
        timing = json.loads((run_dir / "metrics.json").read_text())["timing"]
        total = sum(timing[phase] for phase in ("features_s", "fit_s", "test_s"))
        note = ", ".join(f"{phase} {timing[f'{phase}_s']:.2f} s" for phase in ("setup", "features", "fit", "test"))
        rows.append({"run": f"ours, {name}", "total s": total, "peak MB": peak, "note": note})
    return rows


def peer_row(name: str, root: Path, weights: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Measure one peer's epochs and test, or say why it cannot run."""
    measure, packages = PEERS[name]
    row = {"run": name, "total s": None}
    try:
        epoch, test = measure(root, weights, options)
    except ModuleNotFoundError:
        return row | {"note": f"not installed: pip install {packages}"}
    note = f"{options.measured} epochs measured, {epoch:.1f} s each"
    return row | {"total s": options.epochs * epoch + test, "note": note}


def frozen(weights: Path) -> tuple[nn.Sequential, Any]:
    """Return a network of which only the head trains, and the preprocessing of its weights."""
    backbone = instantiate(compose("train", "model=resnet50", f"model.weights={weights}").model)
    network = tutorial_network(backbone)
    network[0].requires_grad_(False)
    return network, backbone.preprocess


def timed(epochs: int, fit: Callable[[], Any], test: Callable[[], Any]) -> Seconds:
    start = time.perf_counter()
    fit()
    fitted = time.perf_counter()
    test()
    return (fitted - start) / epochs, time.perf_counter() - fitted


def plain_lightning(root: Path, weights: Path, options: argparse.Namespace) -> Seconds:
    class Tutorial(LightningModule):
        def __init__(self, network: nn.Sequential) -> None:
            super().__init__()
            self.network = network

        def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
            return nn.functional.cross_entropy(self.network(batch[0]), batch[1])

        def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
            self.log("accuracy", (self.network(batch[0]).argmax(1) == batch[1]).float().mean())

        def test_step(self, batch: list[Tensor], batch_idx: int) -> None:
            self.validation_step(batch, batch_idx)

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.Adam(self.network[2].parameters(), lr=1e-3)

    network, preprocess = frozen(weights)
    module = Tutorial(network)
    train, val, test = (
        tutorial_loader(root, split, preprocess, options.batch_size) for split in ("train", "val", "test")
    )
    # Skip the sanity check on val, which would count as part of the measured epochs.
    trainer = Trainer(max_epochs=options.measured, num_sanity_val_steps=0, default_root_dir=weights.parent)
    return timed(options.measured, lambda: trainer.fit(module, train, val), lambda: trainer.test(module, test))


def transformers_trainer(root: Path, weights: Path, options: argparse.Namespace) -> Seconds:
    import_module("accelerate")  # Trainer needs it, but reports it late
    transformers = import_module("transformers")

    class Tutorial(nn.Module):
        def __init__(self, network: nn.Module) -> None:
            super().__init__()
            self.network = network

        def forward(self, pixel_values: Tensor, labels: Tensor) -> dict[str, Tensor]:
            logits = self.network(pixel_values)
            return {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}

    def collate(rows: list[tuple[Tensor, int]]) -> dict[str, Tensor]:
        return {"pixel_values": torch.stack([row[0] for row in rows]), "labels": torch.tensor([row[1] for row in rows])}

    network, preprocess = frozen(weights)
    train, val, test = (tutorial_data(root, split, preprocess) for split in ("train", "val", "test"))
    arguments = transformers.TrainingArguments(
        output_dir=str(weights.parent / "transformers"),
        num_train_epochs=options.measured,
        per_device_train_batch_size=options.batch_size,
        per_device_eval_batch_size=options.batch_size,
        learning_rate=1e-3,
        eval_strategy="epoch",
        save_strategy="no",
        report_to="none",
        remove_unused_columns=False,
    )
    trainer = transformers.Trainer(Tutorial(network), arguments, collate, train_dataset=train, eval_dataset=val)
    return timed(options.measured, trainer.train, lambda: trainer.evaluate(test))


def fastai_learner(root: Path, weights: Path, options: argparse.Namespace) -> Seconds:
    vision = import_module("fastai.vision.all")
    network, preprocess = frozen(weights)
    normalise = vision.Normalize.from_stats(preprocess.mean, preprocess.std)
    loaders = vision.ImageDataLoaders.from_folder(
        root,
        valid="val",
        bs=options.batch_size,
        item_tfms=vision.Resize(preprocess.crop[0]),
        batch_tfms=normalise,
    )
    test = loaders.test_dl(vision.get_image_files(root / "test"), with_labels=True)
    # It trains what requires a gradient; its own vision_learner would train the backbone's BatchNorm too.
    learner = vision.Learner(loaders, network, metrics=vision.accuracy)
    return timed(options.measured, lambda: learner.fit(options.measured, 1e-3), lambda: learner.validate(dl=test))


PEERS = {
    "plain Lightning": (plain_lightning, "lightning"),
    "transformers' Trainer": (transformers_trainer, "transformers accelerate"),
    "fastai": (fastai_learner, "fastai"),
}

if __name__ == "__main__":
    main()
