"""Shared by the benchmarks: photographs to read, the tutorial's side of a comparison, a table with its machine."""

import io
import json
import os
import platform
import random
import re
import subprocess
import tempfile
import time
from contextlib import suppress
from functools import cache
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder

from ft_lightning.readers.preprocess import Preprocess
from ft_lightning.system.files import write_json
from ft_lightning.system.hardware import pick_device, pick_precision
from ft_lightning.system.versions import versions

Seconds = tuple[float, float]  # of an epoch, of the test
SIZE = (500, 375)
# Class -> (package, file) of images that scikit-image and scikit-learn contain.
SOURCES = {
    "living": (
        ("skimage", "data/chelsea.png"),
        ("skimage", "data/astronaut.png"),
        ("sklearn", "datasets/images/flower.jpg"),
    ),
    "made": (("skimage", "data/coffee.png"), ("skimage", "data/rocket.jpg"), ("sklearn", "datasets/images/china.jpg")),
}


def photographs(folder: Path, counts: dict[str, int]) -> Path:
    """Cut JPEGs of 500 x 375 pixels from real photographs, once, as <result>/<split>/<class>/*.jpg.

    Noise and drawings do not decode like photographs. Every file differs from every other, and a file's bytes depend
    on its split, class and number alone.

    Args:
        counts: split -> images, dealt to the classes in turn.
    """
    complete = folder / "_".join(f"{split}{count}" for split, count in counts.items())
    if complete.exists():
        return complete
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as unfinished:
        target = Path(unfinished) / complete.name
        for split, count in counts.items():
            for label in SOURCES:
                (target / split / label).mkdir(parents=True)
            for number in range(count):
                label = list(SOURCES)[number % len(SOURCES)]
                name = f"{split}/{label}/{number:05d}.jpg"
                _cut(label, random.Random(name)).save(target / name, quality=90)
        target.rename(complete)  # whole or not at all
    return complete


def tutorial_data(root: Path, split: str, preprocess: Preprocess) -> ImageFolder:
    """Read images and targets as a tutorial does: the weights' preprocessing, float32, normalised on the CPU."""
    resize = preprocess.resize[0] if len(preprocess.resize) == 1 else list(preprocess.resize)
    steps = [
        transforms.Resize(resize, transforms.InterpolationMode(preprocess.interpolation)),
        transforms.CenterCrop(preprocess.crop),
        transforms.ToTensor(),
        transforms.Normalize(preprocess.mean, preprocess.std),
    ]
    return ImageFolder(root / split, transforms.Compose(steps))


def tutorial_loader(root: Path, split: str, preprocess: Preprocess, batch_size: int) -> DataLoader:
    return DataLoader(tutorial_data(root, split, preprocess), batch_size=batch_size, shuffle=split == "train")


def tutorial_network(backbone: Any) -> nn.Sequential:
    """Build the backbone's network with a new linear head, float32 and NCHW."""
    network = backbone.network.to(memory_format=torch.contiguous_format)
    return nn.Sequential(network, nn.Flatten(1), nn.Linear(backbone.feature_dim, len(SOURCES)))


def run_and_watch(command: list[str]) -> float | None:
    """Run a command to its end; return its peak of anonymous memory in MB, None without /proc.

    Pages of mapped files do not count: the system reclaims them when it needs the memory.
    """
    peak = 0
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        while process.poll() is None:
            with suppress(OSError):
                status = Path(f"/proc/{process.pid}/status").read_text()
                peak = max([peak, *map(int, re.findall(r"RssAnon:\s*(\d+) kB", status))])
            time.sleep(0.02)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
    return peak / 1024 or None


def report(out: Path, name: str, rows: list[dict[str, Any]], precision: str = "auto") -> None:
    """Print the rows as a table with the machine below it; write both to <out>/<name>.json."""
    write_json(out / f"{name}.json", {"rows": rows, "machine": machine(precision)})
    print(pd.DataFrame(rows).to_string(index=False, float_format="{:.2f}".format, na_rep="-"))
    print(json.dumps(machine(precision)))


def machine(precision: str) -> dict[str, Any]:
    """Describe the machine and versions on which a figure depends."""
    return {
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "processor": _processor(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "precision": pick_precision(precision, pick_device("auto").type),
        "versions": versions(),
    }


def _cut(label: str, draw: random.Random) -> Image.Image:
    """Cut a random part out of one of the class's photographs."""
    photograph = _photograph(*draw.choice([source for source in SOURCES[label] if find_spec(source[0])]))
    scale = draw.uniform(0.6, 1) * min(photograph.width / SIZE[0], photograph.height / SIZE[1])
    width, height = scale * SIZE[0], scale * SIZE[1]
    left, top = draw.uniform(0, photograph.width - width), draw.uniform(0, photograph.height - height)
    return photograph.resize(SIZE, Image.Resampling.BICUBIC, box=(left, top, left + width, top + height))


@cache
def _photograph(package: str, path: str) -> Image.Image:
    return Image.open(io.BytesIO(files(package).joinpath(path).read_bytes())).convert("RGB")


def _processor() -> str:
    table = Path("/proc/cpuinfo")  # Linux; platform.processor() is often empty there
    lines = table.read_text().splitlines() if table.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
