"""Which learning rate and schedule suit a new linear head: the measurement behind the defaults of plain `train`.

    python benchmarks/head_recipe.py                       # digits
    python benchmarks/head_recipe.py data.root=/my/images  # your own; any override of train

Computes the frozen features once, then trains a head on them for each recipe and each of five splits, with the
project's own optimizer and schedules. Prints mean accuracy and loss at the epoch that is best on val.
"""

import functools
import itertools
import sys
from typing import Any

import pandas as pd
import torch
from hydra.utils import instantiate
from torch import Tensor, nn

from ft_lightning import build
from ft_lightning.cli.compose import compose
from ft_lightning.features.extract import Computing, open_store
from ft_lightning.features.fill import fill
from ft_lightning.optim import build_optimizer, constant, cosine
from ft_lightning.system.hardware import pick_device, pick_precision
from ft_lightning.tasks.metrics import epoch_metrics

RATES = (1e-3, 3e-3, 1e-2, 2e-2, 3e-2)
SCHEDULES: dict[str, Any] = {"constant": constant, "cosine": functools.partial(cosine, warmup_fraction=0.05)}
SPLITS, EPOCHS, BATCH = 5, 10, 32


def main() -> None:
    cfg = compose("train", *sys.argv[1:])
    backbone = build.pretrained(cfg).backbone
    device = pick_device("auto")
    reader = backbone.reader.adapted({"max_pixels": cfg.data.max_pixels})
    how = Computing(reader, device, pick_precision(cfg.precision, device.type), cfg.data.num_workers, True)
    store = open_store(cfg.cache.dir, backbone, how)
    rows = []
    for seed in range(SPLITS):
        data = instantiate(cfg.data, split_seed=seed)
        splits: dict[str, tuple[Tensor, Tensor]] = {}
        for split, samples in data.splits.items():
            features = fill(store, backbone, samples, how)
            splits[split] = features[torch.arange(len(samples))], data.targets(split)
        for rate, schedule in itertools.product(RATES, SCHEDULES):
            result = best_epoch(splits, rate, schedule, data.task.width)
            rows.append({"schedule": schedule, "lr": rate, **result})
    print(pd.DataFrame(rows).groupby(["schedule", "lr"]).mean().to_string(float_format="{:.4f}".format))


def best_epoch(splits: dict[str, tuple[Tensor, Tensor]], rate: float, schedule: str, classes: int) -> dict[str, float]:
    torch.manual_seed(0)
    inputs, targets = (tensor.clone() for tensor in splits["train"])
    head = nn.Linear(inputs.shape[1], classes)
    named = [(f"head.{name}", parameter) for name, parameter in head.named_parameters()]
    optimizer = build_optimizer(functools.partial(torch.optim.Adam, lr=rate), named, backbone_lr_factor=1.0)
    config = SCHEDULES[schedule](optimizer, EPOCHS * -(-len(inputs) // BATCH))
    best = {"val_accuracy": -1.0}
    for _ in range(EPOCHS):
        for batch in torch.randperm(len(inputs)).split(BATCH):
            optimizer.zero_grad()
            nn.functional.cross_entropy(head(inputs[batch]), targets[batch]).backward()
            optimizer.step()
            if config["interval"] == "step":
                config["scheduler"].step()
        with torch.no_grad():
            val, test = (epoch_metrics(head(x), y) for x, y in (splits["val"], splits["test"]))
        if val["accuracy"] > best["val_accuracy"]:
            best = {"val_accuracy": val["accuracy"], "test_accuracy": test["accuracy"], "test_loss": test["loss"]}
    return best


if __name__ == "__main__":
    main()
