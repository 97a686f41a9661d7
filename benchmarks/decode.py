"""`data.decode=fast` against `exact` on large JPEGs: how much faster, how different, and whether accuracy suffers.

    python benchmarks/decode.py /folder/of/large/jpegs                                      # a minute on two cores
    python benchmarks/decode.py --elpv elpv_dataset-1.0.0.post1-py3-none-any.whl --seeds 5  # accuracy: see --limit

Speed: the feature pass of the default network over the folder's JPEGs, without a store, decoded in one way and the
other in turn; pixels: mean and largest difference of what the network gets. Accuracy: the solar cells of the package
elpv-dataset (`pip download --no-deps elpv-dataset`; only its data are read), enlarged to JPEGs of 2,400 px: train with
the head at its optimum on several splits, and the paired difference by a bootstrap over images. Prints tables and
writes decode_speed.json or decode_accuracy.json into --out.
"""

import argparse
import io
import shutil
import statistics
import time
import zipfile
from pathlib import Path
from typing import Any

import torch
from accuracy import paired_difference
from common import report
from PIL import Image

import ft_lightning
from ft_lightning.backbones.backbone import ImageBackbone
from ft_lightning.cli.compose import compose
from ft_lightning.features.extract import Computing, Extractor, open_store
from ft_lightning.readers.sample import Sample
from ft_lightning.system.files import sha256
from ft_lightning.system.hardware import pick_device, pick_precision

DECODES = ("exact", "fast")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", help="with large JPEGs: measures speed and pixels")
    parser.add_argument("--elpv", type=Path, help="the wheel of elpv-dataset: measures accuracy")
    parser.add_argument("--seeds", type=int, default=5, help="splits 0 to n - 1")
    parser.add_argument("--limit", type=int, default=None, help="images of each class; all by default")
    parser.add_argument("--edge", type=int, default=2400, help="pixels of an enlarged image")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("outputs/decode"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    if options.folder:
        report(options.out, "decode_speed", speed(sorted(options.folder.rglob("*.jp*g")), options.rounds))
    if options.elpv:
        report(options.out, "decode_accuracy", accuracy(options))


def speed(paths: list[Path], rounds: int) -> list[dict[str, Any]]:
    """Measure both ways in turn on the same files; the least time of the rounds counts: others use the machine."""
    from hydra.utils import instantiate

    backbone: ImageBackbone = instantiate(compose("train").model)
    device = pick_device("auto")
    samples = [Sample(str(path), path.name, "", sha256(path)) for path in paths]
    seconds: dict[str, list[float]] = {decode: [] for decode in DECODES}
    cpu: dict[str, list[float]] = {decode: [] for decode in DECODES}
    for _ in range(rounds):
        for decode, taken in seconds.items():
            how = Computing(
                backbone.reader.adapted({"decode": decode}),
                device,
                pick_precision("auto", device.type),
                0,
                show_progress=False,
            )
            store = open_store(None, backbone, how, on_disk=False)
            start, used = time.perf_counter(), time.process_time()
            Extractor(backbone, store, how).compute(samples)
            taken.append(time.perf_counter() - start)
            cpu[decode].append(time.process_time() - used)
    exact, fast = ([backbone.reader.adapted({"decode": decode})(sample) for sample in samples] for decode in DECODES)
    differences = [(a.int() - b.int()).abs() for a, b in zip(exact, fast, strict=True)]  # type: ignore[union-attr]
    mean = torch.stack([difference.float().mean() for difference in differences]).mean().item()
    largest = max(int(difference.max()) for difference in differences)
    rows: list[dict[str, Any]] = [
        {
            "decode": decode,
            "images": len(samples),
            "samples a second": len(samples) / min(seconds[decode]),
            "CPU ms a sample": 1000 * min(cpu[decode]) / len(samples),
        }
        for decode in DECODES
    ]
    ratio = min(seconds["exact"]) / min(seconds["fast"])
    rows[1] |= {"times exact": ratio, "mean difference of 255": mean, "largest": largest}
    return rows


def accuracy(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Train on the same images and splits, decoded in one way and the other."""
    root = enlarged(options.elpv, options.out / f"elpv_{options.edge}_{options.limit or 'all'}", options)
    sweeps = {decode: options.out / f"elpv_{options.edge}_{options.limit or 'all'}_{decode}" for decode in DECODES}
    for decode, sweep in sweeps.items():
        for seed in range(options.seeds):
            if not (sweep / str(seed) / "metrics.json").exists():
                ft_lightning.run(
                    "train", f"data.root={root.absolute()}", f"data.decode={decode}", f"data.split_seed={seed}",
                    f"seed={seed}", "optimizer=lbfgs", "trainer.enable_progress_bar=false",
                    f"cache.dir={(options.out / 'cache').absolute()}", run_dir=(sweep / str(seed)).absolute(),
                )  # fmt: skip
    return [
        {"decode": decode, "splits": options.seeds, "images": len(list(root.rglob("*.jpg")))}
        | {"test accuracy": statistics.mean(scores(sweep)), "lowest": min(scores(sweep))}
        | {"to exact": paired_difference(sweep, sweeps["exact"])}
        for decode, sweep in sweeps.items()
    ]


def scores(sweep: Path) -> list[float]:
    runs = [ft_lightning.Run(folder) for folder in sorted(sweep.iterdir())]
    return [run.metrics["test"]["accuracy"] for run in runs]


def enlarged(wheel: Path, folder: Path, options: argparse.Namespace) -> Path:
    """Write JPEGs of a square edge, the same number of each class; defective: probability at least one half."""
    if folder.exists():
        return folder
    unfinished = folder.with_suffix(".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    with zipfile.ZipFile(wheel) as archive:
        table = archive.read("elpv_dataset/data/labels.csv").decode()
        counts = {"defective": 0, "functional": 0}
        for path, probability, _ in (line.split() for line in table.splitlines() if line.strip()):
            label = "defective" if float(probability) >= 0.5 else "functional"
            if counts[label] == options.limit:
                continue
            counts[label] += 1
            image = Image.open(io.BytesIO(archive.read(f"elpv_dataset/data/{path}"))).convert("RGB")
            target = unfinished / label / f"{Path(path).stem}.jpg"
            target.parent.mkdir(parents=True, exist_ok=True)
            image.resize((options.edge, options.edge), Image.Resampling.BICUBIC).save(target, quality=90)
    unfinished.rename(folder)
    return folder


if __name__ == "__main__":
    main()
