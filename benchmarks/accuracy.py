"""Test accuracy of the shipped recipes over several splits, by the command itself.

    python benchmarks/accuracy.py          # digits: four minutes on two cores
    python benchmarks/accuracy.py --elpv   # also solar cells: pip install elpv-dataset
    python benchmarks/accuracy.py --elpv --finetune --seeds 3  # what trains more than a head: two hours

Every seed is another split, another head and another order. Prints a table and writes accuracy.json into --out, with
the paired difference of each recipe to the first: over all test images of all splits, its interval by a bootstrap over
images; and the calibration error on test before and after temperature scaling. A sweep that is in --out already is not
run again.
"""

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd

from ft_lightning.system.files import write_json
from ft_lightning.system.tables import read_table
from ft_lightning.system.versions import versions

RECIPES = {
    "plain": [],
    "plain, float32": ["precision=32-true"],
    "lbfgs": ["optimizer=lbfgs"],
    "classic": ["experiment=classic"],
}
_LARGER = ["optimizer.lr=1e-3", "finetune.backbone_lr_factor=0.1"]
_LIVE = ["trainer.max_epochs=5", "precision=32-true"]
FINETUNE = {
    "frozen": [],
    "frozen, optimum (lbfgs)": ["optimizer=lbfgs"],
    "full, random head": ["finetune=full", "head.init=random", *_LIVE],
    "full, from the probe": ["finetune=full", *_LIVE],
    "partial (k=2)": ["finetune=partial", "finetune.k=2", *_LIVE],
    "partial (k=2), larger steps": ["finetune=partial", "finetune.k=2", *_LARGER, *_LIVE],
    "partial (k=2), light": ["finetune=partial", "finetune.k=2", "augment=light", *_LIVE],
    "partial (k=2), strong": ["finetune=partial", "finetune.k=2", "augment=strong", *_LIVE],
}
# glibc returns memory to the system after each step and requests it again: two fifths of a float32 step on a CPU.
_KEEP_MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "20000000000", "MALLOC_TOP_PAD_": "500000000"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("outputs/accuracy"))
    parser.add_argument("--seeds", type=int, default=5, help="seeds 0 to n - 1")
    parser.add_argument("--elpv", action="store_true", help="also the 2,624 solar cells of the package elpv-dataset")
    parser.add_argument("--finetune", action="store_true", help="recipes that train more than a head")
    options = parser.parse_args()
    places = {"digits": ["augment.flip=0"]}  # a mirrored 2 is not a 2
    if options.elpv:
        places["elpv"] = [f"data.root={write_elpv(options.out / 'elpv_pictures').absolute()}"]
    rows = []
    for place, where in places.items():
        sweeps = {
            recipe: run(f"{place} {recipe}", [*where, *overrides], options)
            for recipe, overrides in (FINETUNE if options.finetune else RECIPES).items()
        }
        first = next(iter(sweeps.values()))
        rows += [row(f"{place} {recipe}", sweep, first) for recipe, sweep in sweeps.items()]
    machine = {"cores": os.cpu_count(), "processor": platform.processor() or platform.machine(), "versions": versions()}
    write_json(options.out / "accuracy.json", {"rows": rows, "machine": machine})
    print(pd.DataFrame(rows).to_string(index=False, float_format="{:.4f}".format))
    print(json.dumps(machine))


def run(name: str, overrides: list[str], options: argparse.Namespace) -> Path:
    """Run a sweep unless its table exists; return its directory."""
    sweep = (options.out / re.sub(r"\W+", "_", name)).absolute()
    if not (sweep / "multirun.csv").exists():
        seeds = ["seed=" + ",".join(map(str, range(options.seeds))), "data.split_seed=${seed}"]
        command = [sys.executable, "-m", "ft_lightning.train", "-m", *seeds, *overrides]
        quiet = "trainer.enable_progress_bar=false"
        environment = os.environ | _KEEP_MEMORY
        where = f"hydra.sweep.dir={sweep}"
        subprocess.run([*command, quiet, where], check=True, stdout=subprocess.DEVNULL, env=environment)
    return sweep


def row(name: str, sweep: Path, reference: Path) -> dict[str, object]:
    table = pd.read_csv(sweep / "multirun.csv")
    results = [json.loads(path.read_text()) for path in sorted(sweep.glob("*/metrics.json"))]
    losses, timings = [result["test"]["loss"] for result in results], [result["timing"] for result in results]
    return {
        "recipe": name,
        "splits": len(table),
        "test accuracy": table["test_accuracy"].mean(),
        "standard deviation": table["test_accuracy"].std(),
        "lowest": table["test_accuracy"].min(),
        "test loss": sum(losses) / len(losses),
        "ece before": sum(result["calibration"]["before"]["test"]["ece"] for result in results) / len(results),
        "ece": sum(result["test"]["ece"] for result in results) / len(results),
        "to the first": paired_difference(sweep, reference),
        "fastest run, s": min(timing["total_s"] for timing in timings),
    }


def paired_difference(sweep: Path, reference: Path) -> list[float]:
    """Compute the mean difference in accuracy on the same test images, and its 95 % interval.

    An image that is in several test splits is drawn with all of its predictions.
    """
    right = [
        pd.concat(
            {job.name: _right(job / "predictions.csv") for job in sorted(folder.iterdir()) if job.is_dir()},
            names=["job", "path"],
        )
        for folder in (sweep, reference)
    ]
    difference = (right[0] - right[1]).groupby("path")
    sums, counts = difference.sum().to_numpy(), difference.count().to_numpy()
    drawn = np.random.default_rng(0).integers(0, len(sums), (2000, len(sums)))
    low, high = np.percentile(sums[drawn].sum(1) / counts[drawn].sum(1), [2.5, 97.5])
    return [round(float(value), 4) for value in (sums.sum() / counts.sum(), low, high)]


def _right(predictions: Path) -> pd.Series:
    table = read_table(predictions).set_index("path")
    return (table["label"] == table["predicted"]).astype(int)


def write_elpv(folder: Path) -> Path:
    """Write electroluminescence images of solar cells; defective: the experts' probability is at least one half."""
    import elpv_dataset

    source = Path(elpv_dataset.__file__).parent / "data"
    for line in (source / "labels.csv").read_text().splitlines():
        if line.strip():
            path, probability, _ = line.split()
            target = folder / ("defective" if float(probability) >= 0.5 else "functional") / Path(path).name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source / path, target)
    return folder


if __name__ == "__main__":
    main()
