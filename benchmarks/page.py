"""Measures the seconds and memory that the page of a large test split takes.

    python benchmarks/page.py

Each case runs in its own process: 10,000 test samples, made-up predictions, 2 and 1,000 classes.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from common import photographs

from ft_lightning.pages import run as run_page
from ft_lightning.readers.image_reader import ImageReader
from ft_lightning.readers.preprocess import Preprocess
from ft_lightning.readers.sample import Sample
from ft_lightning.runs.run import Run
from ft_lightning.runs.write import write_evaluation
from ft_lightning.system.files import write_json
from ft_lightning.system.versions import versions
from ft_lightning.tasks.multiclass import MultiClass

CLASSES = (2, 1000)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("outputs/page"))
    parser.add_argument("--samples", type=int, default=10_000)
    parser.add_argument("--page-of", type=Path, help="a run whose page is made; used by the benchmark itself")
    options = parser.parse_args()
    if options.page_of:
        print(json.dumps(measured(options.page_of)))
        return
    rows = []
    for classes in CLASSES:
        with tempfile.TemporaryDirectory() as folder:
            made_up_evaluation(Path(folder), classes, options.samples)
            command = [sys.executable, __file__, "--page-of", folder]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
        rows.append({"classes": classes, "samples": options.samples} | json.loads(done.stdout))
    write_json(options.out / "page.json", {"rows": rows, "versions": versions()})
    print(pd.DataFrame(rows).to_string(index=False, float_format="{:.2f}".format))


def made_up_evaluation(folder: Path, classes: int, samples: int) -> None:
    """Write the files of an evaluation, with some wrong predictions."""
    images = sorted(photographs(folder / "images", {"test": 60}).rglob("*.jpg"))
    names = [f"class {number}" for number in range(classes)]
    targets = torch.arange(samples) % classes
    logits = 1.5 * torch.randn(samples, classes, generator=torch.Generator().manual_seed(0))
    logits[torch.arange(samples), targets] += 6
    logits[torch.arange(samples), (targets + 1) % classes] += 2.5
    listed = [
        Sample(str(images[i % 60]), f"{names[target]}/{i}.jpg", names[target], f"{i:064x}", "test")
        for i, target in enumerate(targets.tolist())
    ]
    about: dict[str, Any] = {"timing": {"total_s": 0.0}, "data": {"location": "made up", "samples": {"test": samples}}}
    about["model"] = {"backbone": {"name": "none", "source": "none", "weights": None}, "sha256": ""}
    about["model"]["finetune"] = {"mode": "frozen", "trained_blocks": []}
    task = MultiClass(names, [1] * classes, temperature=1.1)
    reader = ImageReader(Preprocess((224,), (224, 224), "bilinear", (0.0,) * 3, (1.0,) * 3))
    write_evaluation(Run(folder), task, listed, logits, reader, about)


def measured(run_dir: Path) -> dict[str, float]:
    start = time.perf_counter()
    page = run_page.write(Run(run_dir))
    seconds = time.perf_counter() - start
    found = {"seconds": seconds, "page, MB": page.stat().st_size / 1e6}
    status = Path("/proc/self/status")
    if status.is_file():  # `resource` would include the memory of the parent process
        found["peak of memory, MB"] = int(status.read_text().partition("VmHWM:")[2].split()[0]) / 1024
    return found


if __name__ == "__main__":
    main()
