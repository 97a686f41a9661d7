"""`python -m ft_lightning.evaluate`: model directory + labelled data -> metrics.json, predictions.csv.

    python -m ft_lightning.evaluate model_dir=outputs/train/<run> data.root=/my/labelled/images
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from ft_lightning import command
from ft_lightning.errors import UserError

if TYPE_CHECKING:
    from ft_lightning.scan import Sample


def evaluate(cfg: DictConfig, run_dir: Path) -> dict[str, Any]:
    """Score a model on labelled images it was not trained on; classes are matched by name."""
    import torch

    from ft_lightning import artifact, metrics, results, summary, tables
    from ft_lightning.data import PathsDataset

    clock = results.Stopwatch()
    model = artifact.load(cfg.model_dir)
    samples = labelled_samples(cfg, model.class_names)
    dataset = PathsDataset([sample.path for sample in samples], model.classifier.backbone.preprocess, cfg.data.max_pixels)
    logits, errors = model.logits(dataset, cfg.batch_size, cfg.num_workers, cfg.device, cfg.precision)
    if errors:
        raise UserError("\n".join([f"{len(errors)} of {len(samples)} images cannot be read:", *errors.values()]))
    targets = torch.tensor([model.class_names.index(sample.label) for sample in samples])
    clock.lap("test_s")

    table = results.prediction_table([sample.name for sample in samples], logits, model.class_names, model.temperature)
    table.insert(1, "label", [sample.label for sample in samples])
    tables.write_table(table, run_dir / "predictions.csv")
    scored = {
        "test": metrics.full_metrics(logits / model.temperature, targets, model.class_names, model.card["class_counts"]),
        "timing": clock.seconds,
        "model": {"sha256": model.card["sha256"]},
        "versions": results.versions(),
    }
    results.write_json(run_dir / "metrics.json", scored)
    summary.after_evaluate(run_dir, scored)
    return scored
