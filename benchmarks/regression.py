"""How good `task=regression` is on the probability that a solar cell is defective, beside scikit-learn's ridge.

    pip download --no-deps elpv-dataset
    python benchmarks/regression.py elpv_dataset-1.0.0.post1-py3-none-any.whl  # two minutes on two cores

Trains the command itself on five splits of the 2,624 images of the package elpv-dataset, of which only the data are
read; every seed is another split, head and order. Ridge regression gets the same features and splits, and takes the
best of the same L2 strengths by the same metric on val. Prints a table, and writes regression.json into --out.
"""

import argparse
import statistics
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from common import report
from sklearn.linear_model import Ridge
from sklearn.metrics import mean_absolute_error, r2_score

from ft_lightning import build
from ft_lightning.cli.compose import compose
from ft_lightning.features.extract import Computing, open_store
from ft_lightning.optim import strengths
from ft_lightning.runs.run import Run
from ft_lightning.system.hardware import pick_device, pick_precision

RECIPES = {
    "plain": [],
    "plain, squared error": ["loss=squared_error"],
    "adam": ["optimizer=adam"],
    "lbfgs": ["optimizer=lbfgs"],
    "lbfgs, squared error": ["optimizer=lbfgs", "loss=squared_error"],
}
METRICS = ("mae", "r2", "coverage90", "spearman")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheel", type=Path)
    parser.add_argument("--out", type=Path, default=Path("outputs/regression"))
    parser.add_argument("--seeds", type=int, default=5, help="seeds 0 to n - 1")
    options = parser.parse_args()
    table = write_elpv(options.wheel, options.out / "elpv").absolute()
    sweeps = {name: run(name, [f"data.csv={table}", *recipe], options) for name, recipe in RECIPES.items()}
    found = {name: [Run(job).metrics["test"] for job in jobs] for name, jobs in sweeps.items()}
    found["scikit-learn's Ridge"] = ridge([Run(job) for job in sweeps["plain"]])
    found["the mean"] = [{"mae": one["mean_mae"], "r2": one["mean_r2"]} for one in found["plain"]]
    found["20 nearest neighbours"] = [{"mae": one["knn_mae"]} for one in found["plain"]]
    report(options.out, "regression", [{"recipe": name} | spread(tests) for name, tests in found.items()])


def write_elpv(wheel: Path, folder: Path) -> Path:
    """Write the images of the wheel, and a table of their paths and of the experts' probability of a defect."""
    table = folder / "table.csv"
    with zipfile.ZipFile(wheel) as archive:
        rows = [line.split() for line in archive.read("elpv_dataset/data/labels.csv").decode().splitlines() if line]
        if not table.exists():
            for path, *_ in rows:
                target = folder / path
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(archive.read(f"elpv_dataset/data/{path}"))
            pd.DataFrame([row[:2] for row in rows], columns=["path", "label"]).to_csv(table, index=False)
    return table


def run(name: str, overrides: list[str], options: argparse.Namespace) -> list[Path]:
    """Train once a seed, unless that is there already; return the runs."""
    sweep = (options.out / name.replace(" ", "_").replace(",", "")).absolute()
    if not (sweep / "multirun.csv").exists():
        seeds = ["seed=" + ",".join(map(str, range(options.seeds))), "data.split_seed=${seed}"]
        command = [sys.executable, "-m", "ft_lightning.train", "-m", "task=regression", *seeds, *overrides]
        quiet = ["trainer.enable_progress_bar=false", f"hydra.sweep.dir={sweep}"]
        subprocess.run([*command, *quiet], check=True, stdout=subprocess.DEVNULL)
    return [sweep / str(seed) for seed in range(options.seeds)]


def ridge(runs: list[Run]) -> list[dict[str, float]]:
    """Fit ridge regression on the stored features and splits of these runs; return its metrics on test."""
    cfg = compose("train")
    backbone, device = build.pretrained(cfg).backbone, pick_device("auto")
    reader = backbone.reader.adapted({"max_pixels": cfg.data.max_pixels})
    store = open_store(
        cfg.cache.dir, backbone, Computing(reader, device, pick_precision("auto", device.type), 0, False)
    )
    results = []
    for one in runs:
        parts = {}
        for split, rows in one.table("split").groupby("split"):
            stored = store.locate(rows["digest"].tolist())
            features = stored[torch.arange(len(rows))].double().numpy()
            parts[str(split)] = features, rows["class"].astype(float).to_numpy()
        results.append(best_ridge(parts))
    return results


def best_ridge(parts: dict[str, tuple[np.ndarray, np.ndarray]]) -> dict[str, float]:
    (x, y), (val_x, val_y), (test_x, test_y) = (parts[split] for split in ("train", "val", "test"))
    fitted = [Ridge(alpha=l2 * len(x) / 2).fit(x, y) for l2 in strengths(None)]  # of a sum, ours is of a mean
    best = min(fitted, key=lambda each: mean_absolute_error(val_y, each.predict(val_x)))
    predicted = best.predict(test_x)
    return {"mae": mean_absolute_error(test_y, predicted), "r2": r2_score(test_y, predicted)}


def spread(tests: list[dict[str, Any]]) -> dict[str, float]:
    """Return the mean and the standard deviation of each metric over the splits."""
    row: dict[str, float] = {}
    for name in METRICS:
        values = [test[name] for test in tests if test.get(name) is not None]
        if len(values) > 1:
            row |= {name: statistics.fmean(values), f"{name} sd": statistics.stdev(values)}
    return row


if __name__ == "__main__":
    main()
