"""How time and memory grow with the number of images, and a feature store that is larger than the memory allowed.

    python benchmarks/scale.py                          # two minutes on two cores
    python benchmarks/scale.py --sizes 500 2000 8000 --model mobilenetv3_small_050 --store-gb 4 --memory-gb 1

First runs `python -m ft_lightning.train` on more and more images, cold and warm. Then a process reads rows of 2,048
numbers, the width of ResNet-50, in random batches, while a memory control group keeps it below --memory-gb (Linux, as
root; otherwise this part is skipped). Prints tables and writes scale.json into --out.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from common import photographs, report, run_and_watch

from ft_lightning.features.store import SHARD_ROWS, FeatureStore

D = 2048
BATCH = 256


def main() -> None:
    options = arguments()
    if options.read:
        if options.group:
            (options.group / "cgroup.procs").write_text(str(os.getpid()))
        print(json.dumps(read_at_random(options.read, options.rows)))
        return
    rows = [row for size in options.sizes for row in trained(size, options)]
    with tempfile.TemporaryDirectory() as folder:
        rows += larger_than_memory(Path(folder), options)
    report(options.out, "scale", rows)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("outputs/scale"))
    parser.add_argument("--sizes", type=int, nargs="+", default=[500, 2000, 8000], help="images in all three splits")
    parser.add_argument("--model", default="test_resnet", help="a name of timm; its weights are random")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--store-gb", type=float, default=2.0)
    parser.add_argument("--memory-gb", type=float, default=1.0, help="for the process that reads the store")
    parser.add_argument("--read", type=Path, help="a store to read, for that process")
    parser.add_argument("--rows", type=int, help="its rows")
    parser.add_argument("--group", type=Path, help="a memory control group to join before")
    return parser.parse_args()


def trained(size: int, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Return the rows of a cold and a warm run on `size` images."""
    root = many_files(options.out / "photographs", size)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name in ("cold", "warm"):
            run_dir = Path(folder) / name
            command = [sys.executable, "-m", "ft_lightning.train", "model=timm", f"model.name={options.model}"]
            command += ["model.weights=null", f"data.root={root.absolute()}", f"cache.dir={folder}/cache"]
            command += [f"trainer.max_epochs={options.epochs}", "trainer.enable_progress_bar=false"]
            peak = run_and_watch([*command, f"hydra.run.dir={run_dir}"])
            timing = json.loads((run_dir / "metrics.json").read_text())["timing"]
            per_image = {
                f"{phase} ms/image": 1e3 * timing[f"{phase}_s"] / size for phase in ("setup", "features", "fit")
            }
            rows.append({"what": f"{size:,} images, {name}", **per_image, "peak MB": peak})
    return rows


def many_files(folder: Path, size: int) -> Path:
    """Write `size` different JPEGs: a few photographs with different bytes after the end of the image."""
    splits = {
        "train": round(0.8 * size),
        "val": round(0.1 * size),
        "test": size - round(0.8 * size) - round(0.1 * size),
    }
    originals = sorted(photographs(folder, {"train": 100}).rglob("*.jpg"))
    complete = folder / f"{size}_files"
    if not complete.exists():
        with tempfile.TemporaryDirectory(dir=folder) as unfinished:
            target = Path(unfinished) / complete.name
            for split, count in splits.items():
                for number in range(count):
                    original = originals[number % len(originals)]
                    path = target / split / original.parent.name / f"{number:06d}.jpg"
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(original.read_bytes() + f"{split} {number}".encode())
            target.rename(complete)
    return complete


def larger_than_memory(folder: Path, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Return the rows of reading a large store with and without a limit on memory."""
    n = round(options.store_gb * 2**30 / (2 * D) / SHARD_ROWS) * SHARD_ROWS
    store = FeatureStore(folder, {})
    start = time.perf_counter()
    for at in range(0, n, SHARD_ROWS):
        features = torch.randn(SHARD_ROWS, D, generator=torch.Generator().manual_seed(at)).bfloat16()
        store.write([digest(i) for i in range(at, at + SHARD_ROWS)], features)
    rows = [{"what": f"store of {options.store_gb:g} GB: write", "s": time.perf_counter() - start}]
    for limit in (None, options.memory_gb):
        command = [sys.executable, __file__, "--read", str(folder), "--rows", str(n)]
        group = memory_group(limit) if limit else None
        if limit and not group:
            print("no memory control group can be made here: reading under a limit is left out")
            continue
        command += ["--group", str(group)] if group else []
        done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
        allowed = f"within {limit:g} GB" if limit else "without a limit"
        rows.append({"what": f"store of {options.store_gb:g} GB: read {allowed}", **json.loads(done.stdout)})
    return rows


def read_at_random(folder: Path, n: int) -> dict[str, float]:
    """Open and verify a store, then read half of it in random batches."""
    start = time.perf_counter()
    rows = FeatureStore(folder, {}).locate([digest(i) for i in range(n)]).compacted()
    opened = time.perf_counter()
    batches = torch.randperm(n, generator=torch.Generator().manual_seed(0)).split(BATCH)[: n // BATCH // 2]
    for batch in batches:
        assert rows[batch].shape == (BATCH, D)
    status = Path("/proc/self/status").read_text()
    anonymous = int(status.partition("RssAnon:")[2].split()[0]) / 1024
    seconds = time.perf_counter() - opened
    return {"s": opened - start, "ms/batch of 256": 1e3 * seconds / len(batches), "peak MB": anonymous}


def memory_group(gigabytes: float) -> Path | None:
    """Create a memory control group of this size."""
    for top, limit in (("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")):
        group = Path(top) / f"scale-{os.getpid()}"
        try:
            group.mkdir(exist_ok=True)
            (group / limit).write_text(str(round(gigabytes * 2**30)))
        except OSError:
            continue
        return group
    return None


def digest(i: int) -> str:
    return hashlib.sha256(str(i).encode()).hexdigest()


if __name__ == "__main__":
    main()
