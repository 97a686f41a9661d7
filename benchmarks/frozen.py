"""A frozen backbone and a new head: the plain loop, plain Lightning, ours cold and warm, and the floor, side by side.

    python benchmarks/frozen.py                                                   # ResNet-50: two minutes on two cores
    python benchmarks/frozen.py --train 400 --val 100 --test 100 --measured 10    # docs/measured.md: 15 minutes

Floor: reading, preprocessing and one forward pass of every image of train, val and test, in a bare loop in the
fastest configuration found. Plain loop: what a tutorial does, see `plain_loop`. Ours: the command
`python -m ft_lightning.train`, features_s + fit_s + test_s, with an empty store, and twice more with other learning
rates. The plain epochs are alike, so only some are measured (--measured) and multiplied. Memory is the peak of
anonymous memory, the plain loop's in a process of its own. Prints a table and writes frozen.json into --out.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from common import Seconds, photographs, report, run_and_watch, tutorial_loader
from hydra.utils import instantiate
from peers import frozen, ours, plain_lightning, timed
from PIL import Image
from torch import nn
from torchvision.models import resnet50

from ft_lightning.cli.compose import compose
from ft_lightning.system.hardware import autocast, pick_device, pick_precision


def main() -> None:
    options = arguments()
    root = photographs(options.out / "photographs", {name: getattr(options, name) for name in ("train", "val", "test")})
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "resnet50.pt"
        torch.save(resnet50().state_dict(), weights)
        if options.only_plain:
            plain_loop(root, weights, options)
            return
        rows: list[dict[str, Any]] = [{"run": "floor", "total s": floor(root, weights, options), "peak MB": None}]
        rows += ours(root.absolute(), weights, options, {"cold": 2e-2, "warm": 1e-2, "warm again": 5e-3})
        peak = run_and_watch([sys.executable, __file__, "--only-plain", *sys.argv[1:], "--measured", "1"])
        for name, run, memory in (("plain loop", plain_loop, peak), ("plain Lightning", plain_lightning, None)):
            epoch, test = run(root, weights, options)
            total, note = options.epochs * epoch + test, f"{options.measured} epochs measured, {epoch:.1f} s each"
            rows.append({"run": name, "total s": total, "peak MB": memory, "note": note})
    for row in rows:
        row["to the floor"], row["to ours cold"] = (row["total s"] / rows[at]["total s"] for at in (0, 1))
    report(options.out, "frozen", rows, options.precision)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("outputs/frozen"))
    for split, count in (("train", 160), ("val", 40), ("test", 40)):
        parser.add_argument(f"--{split}", type=int, default=count, help=f"images in {split}")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--measured", type=int, default=1, help="epochs that the plain runs really take")
    parser.add_argument("--precision", default="auto", help="of ours and of the floor")
    parser.add_argument("--only-plain", action="store_true", help="for the memory of that run alone")
    return parser.parse_args()


@torch.inference_mode()
def floor(root: Path, weights: Path, options: argparse.Namespace) -> float:
    """Measure the seconds to read, preprocess and pass every image through the network once, after a warm-up batch."""
    device = pick_device("auto")
    precision = pick_precision(options.precision, device.type)
    backbone = instantiate(compose("train", "model=resnet50", f"model.weights={weights}").model).eval().to(device)
    paths = sorted(root.rglob("*.jpg"))

    size = 16 if device.type == "cpu" else 256  # faster on two CPU cores than 8, 32 or 64

    def forward(batch: list[Path]) -> None:
        pixels = torch.stack([backbone.preprocess(Image.open(path).convert("RGB")) for path in batch])
        with autocast(precision, device.type):
            backbone(backbone.prepare(pixels.to(device))).cpu()

    forward(paths[:size])
    start = time.perf_counter()
    for at in range(0, len(paths), size):
        forward(paths[at : at + size])
    return time.perf_counter() - start


def plain_loop(root: Path, weights: Path, options: argparse.Namespace) -> Seconds:
    """Train as a tutorial does: a frozen network in train mode, float32, NCHW, Adam on the head, accuracy on val."""
    network, preprocess = frozen(weights)
    device = pick_device("auto")
    network.to(device)
    optimizer = torch.optim.Adam(network[2].parameters(), lr=1e-3)
    loaders = {
        split: tutorial_loader(root, split, preprocess, options.batch_size) for split in ("train", "val", "test")
    }

    def fit() -> None:
        for _ in range(options.measured):
            network.train()
            for inputs, targets in loaders["train"]:
                optimizer.zero_grad()
                nn.functional.cross_entropy(network(inputs.to(device)), targets.to(device)).backward()
                optimizer.step()
            accuracy("val")

    @torch.no_grad()
    def accuracy(split: str) -> float:
        network.eval()
        hits = [(network(x.to(device)).argmax(1).cpu() == y).sum().item() for x, y in loaders[split]]
        return sum(hits) / len(loaders[split].dataset)  # type: ignore[arg-type]

    return timed(options.measured, fit, lambda: accuracy("test"))


if __name__ == "__main__":
    main()
