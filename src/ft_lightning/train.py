"""`python -m ft_lightning.train`: fit, test, write the model directory.

    python -m ft_lightning.train data.root=/my/images
    python -m ft_lightning.train model=resnet50 data=mydata finetune=partial
    python -m ft_lightning.train -m model=resnet18,resnet50 optimizer.lr=1e-3,1e-2
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from ft_lightning import command

if TYPE_CHECKING:
    from lightning import LightningDataModule, Trainer

    from ft_lightning.model import Classifier
    from ft_lightning.module import FineTuner


def train(cfg: DictConfig, run_dir: Path) -> dict[str, Any]:
    """One run: everything that conf/train.yaml and the command line say, into `run_dir`; returns metrics.json."""
    from ft_lightning import artifact, results, summary
    from ft_lightning.hardware import pick_precision
    from ft_lightning.results import Stopwatch

    clock = Stopwatch()
    data = build_data(cfg)
    classifier = build_classifier(cfg, data)
    module = build_module(cfg, classifier, data)
    trainer, best = build_trainer(cfg, run_dir)
    summary.before(run_dir, data, classifier, trainer)
    clock.lap("setup_s")

    trainer.fit(module, datamodule=data)
    clock.lap("fit_s")

    trainer.validate(module, datamodule=data, ckpt_path=best.best_model_path, verbose=False)
    trainer.test(module, datamodule=data, verbose=False)
    clock.lap("test_s")

    metrics = results.write(run_dir, module.outputs, data, clock)
    artifact.save(run_dir / "model", classifier, data.class_names, metrics)
    summary.after(run_dir, metrics)
    return metrics
