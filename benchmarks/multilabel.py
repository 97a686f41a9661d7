"""Several labels an image: how good `train task=multilabel` is, beside scikit-learn on the same features.

    python benchmarks/multilabel.py                      # the frozen backbone, five splits: two minutes on two cores
    python benchmarks/multilabel.py --full               # trains the whole network, five splits: half an hour

1,500 canvases of 128 x 128 with two of scikit-learn's digits, each of 48 px, in the left and the right half: the labels
are the digits, so an image of two equal ones has one. scikit-learn fits one logistic regression a label on the stored
features of train; its L2 strength is the best of seven by average precision on val. Prints a table, writes
multilabel.json into --out.
"""

import argparse
import statistics
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from common import report
from PIL import Image

import ft_lightning
from ft_lightning import build
from ft_lightning.cli.compose import compose
from ft_lightning.features.extract import Computing, open_store
from ft_lightning.features.fill import fill
from ft_lightning.system.hardware import pick_device, pick_precision

RECIPES = {"frozen": [], "frozen, optimizer=lbfgs": ["optimizer=lbfgs"]}
FULL = ["finetune=full", "trainer.max_epochs=3"]
STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0, 1e1, 1e2, 1e3)  # scikit-learn's C, the inverse of L2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1500)
    parser.add_argument("--seeds", type=int, default=5, help="splits 0 to n - 1")
    parser.add_argument("--full", action="store_true", help="train the whole network, and nothing else")
    parser.add_argument("--out", type=Path, default=Path("outputs/multilabel"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    table = write_canvases(options.out / "canvases", options.images)
    recipes = {"full": FULL} if options.full else RECIPES
    rows: list[dict[str, Any]] = []
    for seed in range(options.seeds):
        where = ["task=multilabel", "data=image_folder", f"data.csv={table}", f"data.split_seed={seed}", f"seed={seed}"]
        for name, overrides in recipes.items():
            run = ft_lightning.run("train", *where, *overrides, "trainer.enable_progress_bar=false")
            rows.append({"recipe": name, "seed": seed, **scores(run.metrics["test"]), **timing(run.metrics)})
        if not options.full:
            rows.append({"recipe": "scikit-learn", "seed": seed, **of_scikit_learn(where)})
        report(options.out, "multilabel", [*rows, *means(rows)])


def write_canvases(folder: Path, count: int) -> Path:
    """Write the images and labels.csv, the same each time; return the table's path."""
    from sklearn.datasets import load_digits

    digits, random = load_digits(), np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for number in range(count):
        canvas = Image.new("L", (128, 128))
        chosen = random.integers(len(digits.images), size=2)
        for left, one in zip((8, 72), chosen, strict=True):
            digit = Image.fromarray((digits.images[one] * 255 / 16).astype(np.uint8))
            canvas.paste(digit.resize((48, 48), Image.Resampling.BICUBIC), (left, int(random.integers(80))))
        name = f"{number:04d}.png"
        canvas.save(folder / name)
        rows.append((name, ";".join(sorted({str(digits.target[one]) for one in chosen}))))
    table = folder / "labels.csv"
    pd.DataFrame(rows, columns=["path", "label"]).to_csv(table, index=False)
    return table


def scores(test: dict[str, Any]) -> dict[str, float]:
    return {name: test[name] for name in ("average_precision", "f1_macro", "exact_match")}


def timing(metrics: dict[str, Any]) -> dict[str, float]:
    return {"seconds": metrics["timing"]["total_s"]}


def of_scikit_learn(overrides: list[str]) -> dict[str, float]:
    """Fit one-vs-rest logistic regression on the features of the same split; the threshold of each label is 0.5."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import average_precision_score, f1_score
    from sklearn.multiclass import OneVsRestClassifier

    cfg = compose("train", overrides)
    data, backbone = build.data(cfg), build.pretrained(cfg).backbone
    data.connect(backbone.reader, None, 0)
    device = pick_device("auto")
    how = Computing(data.reader, device, pick_precision("auto", device.type), None, show_progress=False)
    store = open_store(cfg.cache.dir, backbone, how)
    features, targets = {}, {}
    for split, samples in data.splits.items():
        rows = fill(store, backbone, list(samples), how)
        features[split] = rows[torch.arange(len(rows))].float().numpy()
        targets[split] = data.targets(split).numpy()
    fitted = []
    for c in STRENGTHS:
        model = OneVsRestClassifier(LogisticRegression(C=c, max_iter=2000)).fit(features["train"], targets["train"])
        on_val = average_precision_score(targets["val"], model.predict_proba(features["val"]), average="macro")
        fitted.append((on_val, model))
    best = max(fitted, key=lambda one: one[0])[1]
    probabilities, answers = best.predict_proba(features["test"]), best.predict(features["test"])
    return {
        "average_precision": float(average_precision_score(targets["test"], probabilities, average="macro")),
        "f1_macro": float(f1_score(targets["test"], answers, average="macro")),
        "exact_match": float((answers == targets["test"]).all(1).mean()),
    }


def means(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {"recipe": recipe, "seed": "mean"}
        | {
            name: statistics.fmean(row[name] for row in rows if row["recipe"] == recipe)
            for name in ("average_precision", "f1_macro", "exact_match")
        }
        for recipe in dict.fromkeys(row["recipe"] for row in rows)
    ]


if __name__ == "__main__":
    main()
