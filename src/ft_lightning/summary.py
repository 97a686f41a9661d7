"""What a run says on the terminal: one summary before training, one table after it."""

from collections import Counter
from pathlib import Path
from typing import Any

from lightning import Trainer
from rich.console import Console
from rich.table import Table

from ft_lightning.model import Classifier

_LISTED_CLASSES = 10


def before(run_dir: Path, data: Any, classifier: Classifier, trainer: Trainer) -> None:
    """Print what is about to be trained, on what, and where it goes."""
    if not trainer.is_global_zero:
        return
    sizes = {split: len(samples) for split, samples in data.splits.items()}
    plan, identity = classifier.plan, classifier.backbone.identity
    total = sum(p.numel() for p in classifier.parameters())
    trainable = sum(p.numel() for p in classifier.parameters() if p.requires_grad)
    cut = {"frozen": "after the last block", "full": "before the first block"}.get(plan.mode, f"before {plan.trained_blocks[:1]}")
    _print_pairs(
        {
            "data": f"{data.location}",
            "samples": ", ".join(f"{split} {size:,}" for split, size in sizes.items()),
            "classes": f"{len(data.class_names)}: {_listing(data.class_names)}",
            "backbone": f"{identity.name} ({identity.source}, weights {identity.weights})",
            "finetune": f"{plan.mode}: trains {cut}",
        }
    )
