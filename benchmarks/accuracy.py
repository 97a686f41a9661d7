"""Test accuracy of the shipped recipes over several splits, by the command itself.

    python benchmarks/accuracy.py          # digits: four minutes on two cores
    python benchmarks/accuracy.py --elpv   # also solar cells: pip install elpv-dataset

Prints a table and writes accuracy.json into --out. A sweep that --out holds already is not run again.
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd

from ft_lightning.results import versions, write_json

RECIPES = {
    "plain": [],
    "plain, float32": ["precision=32-true"],
    "lbfgs": ["optimizer=lbfgs"],
    "classic": ["experiment=classic"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("outputs/accuracy"))
    parser.add_argument("--seeds", type=int, default=5, help="split seeds 0 to n - 1")
    parser.add_argument("--elpv", action="store_true", help="also the 2,624 solar cells of the package elpv-dataset")
    options = parser.parse_args()
    places: dict[str, list[str]] = {"digits": []}
    if options.elpv:
        places["elpv"] = [f"data.root={write_elpv(options.out / 'elpv_pictures').absolute()}"]
    rows = [
        row(f"{place} {recipe}", run(f"{place} {recipe}", [*where, *overrides], options))
        for place, where in places.items()
        for recipe, overrides in RECIPES.items()
    ]
    machine = {"cores": os.cpu_count(), "processor": platform.processor() or platform.machine(), "versions": versions()}
    write_json(options.out / "accuracy.json", {"rows": rows, "machine": machine})
    print(pd.DataFrame(rows).to_string(index=False, float_format="{:.4f}".format))
    print(json.dumps(machine))


def run(name: str, overrides: list[str], options: argparse.Namespace) -> Path:
    """The sweep's directory, run now unless its table is there."""
    sweep = (options.out / name.replace(", ", "_").replace(" ", "_")).absolute()
    if not (sweep / "multirun.csv").exists():
        seeds = ",".join(map(str, range(options.seeds)))
        command = [sys.executable, "-m", "ft_lightning.train", "-m", f"data.split_seed={seeds}", *overrides]
        quiet = "trainer.enable_progress_bar=false"
        subprocess.run([*command, quiet, f"hydra.sweep.dir={sweep}"], check=True, stdout=subprocess.DEVNULL)
    return sweep


def row(name: str, sweep: Path) -> dict[str, object]:
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
        "fastest run, s": min(timing["total_s"] for timing in timings),
    }


def write_elpv(folder: Path) -> Path:
    """Electroluminescence pictures of solar cells, defective where the experts' probability is at least one half."""
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
