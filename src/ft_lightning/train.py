"""`python -m ft_lightning.train`: fit, test, write the model directory and the page.

python -m ft_lightning.train data.root=/my/images
python -m ft_lightning.train model=resnet50 data=mydata finetune=partial
python -m ft_lightning.train -m model=resnet18,resnet50 optimizer.lr=1e-3,1e-2
python -m ft_lightning.train resume=outputs/train/<run>
"""

import logging
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from ft_lightning import build
from ft_lightning.cli import command, processes
from ft_lightning.cli.job import Verb
from ft_lightning.runs import config as run_config
from ft_lightning.runs import resume
from ft_lightning.runs.run import Run

if TYPE_CHECKING:
    from lightning import LightningModule, Trainer

    from ft_lightning.data.protocol import Data
    from ft_lightning.model import Classifier
    from ft_lightning.module import FineTuner
    from ft_lightning.tasks.task import Task

log = logging.getLogger(__name__)


def train(cfg: DictConfig, run_dir: Path) -> dict[str, Any]:
    """Train and test one config of conf/train.yaml; write the run's files to `run_dir`; return metrics.json."""
    from ft_lightning.deploy.beside_base import BesideBase
    from ft_lightning.runs import write
    from ft_lightning.search import auto_head, further

    build.check(cfg)
    build.trainer(cfg, [], None)  # what it refuses, before the data is read
    run, clock = Run(run_dir), write.Stopwatch()
    data, pretrained = build.data(cfg), build.pretrained(cfg)
    choice = auto_head.choose(cfg, run, data, pretrained, clock)
    module = build.module(choice.cfg, data, pretrained)
    stored = build.stored_features(choice.cfg, list(data.splits), clock, choice.rows, required_by=choice.required_by)
    *others, best, last = output_callbacks(cfg, run)
    trainer = build.trainer(choice.cfg, [stored, *others, best, last], run_dir)
    planned = further.plan(cfg, data, trainer)
    start = checkpoint_to_resume(cfg, run, data)
    if trainer.is_global_zero:
        announce(cfg, run, data, module.classifier, trainer, start)
    clock.lap("setup_s")
    base = BesideBase(run, trainer, module.classifier, data, clock)

    trainer.fit(module, datamodule=data, ckpt_path=start)  # type: ignore[arg-type]
    clock.lap("fit_s")
    test_best_epoch(trainer, module, data, best.best_model_path)
    clock.lap("test_s")
    if not trainer.is_global_zero:
        return {}

    processes.stop_watching()
    outputs, task = base.after(module.outputs)
    more = further.train(cfg, data, planned, pretrained, stored.rows, outputs, clock)
    task = task.calibrate(outputs["val"].rows, outputs["val"].target)
    seen = seen_in_epoch(trainer, data) * (trainer.current_epoch - module.first_epoch)
    timing = clock.timing(seen, stored.found - choice.computed, stored.computed + choice.computed)
    metrics = write.write(run, outputs, task, data, timing, choice.compared, more, module.details())
    deliver(run, trainer, module.classifier, build.described_head(choice.cfg), task, data, metrics)
    return metrics


def announce(
    cfg: DictConfig, run: Run, data: "Data", classifier: "Classifier", trainer: "Trainer", start: Path | None
) -> None:
    """Write which samples take part, and print what is about to be trained, and what a look at the data finds."""
    from ft_lightning import loggers
    from ft_lightning.cli import summary
    from ft_lightning.data import problems
    from ft_lightning.issues.layout import quick_findings

    run.write("split", data.split_table())
    problems.write_problems(data.left_out, run.record_path("problems"))
    summary.before(run.path, data, classifier, trainer, start)
    summary.glance(quick_findings(data.task, data.splits, in_folders=Path(str(data.location)).is_dir()))
    loggers.begin(trainer.loggers, run_config.flat(cfg))


def test_best_epoch(trainer: "Trainer", module: "FineTuner", data: "Data", best: str) -> None:
    """Compute the outputs for val and test by the best checkpoint, a path; by the last epoch if there is none."""
    from ft_lightning.callbacks.checkpoints import stop_averaging

    stop_averaging(trainer)
    chosen = best if Path(best).is_file() else None
    if not chosen:
        log.warning("There is no best.ckpt, as no epoch was validated: the last epoch is tested, not the best.")
    trainer.validate(module, datamodule=data, ckpt_path=chosen, verbose=False)  # type: ignore[arg-type]
    trainer.test(module, datamodule=data, verbose=False)  # type: ignore[arg-type]


def seen_in_epoch(trainer: "Trainer", data: "Data") -> int:
    """Return how many samples of train and val an epoch has, where `trainer.limit_..._batches` may leave some out."""
    batches = {"train": trainer.num_training_batches, "val": sum(trainer.num_val_batches)}
    shares = dict.fromkeys(batches, 1.0)
    with suppress(TypeError):  # of a source of one's own, whose loaders have no length
        shares = {split: min(1.0, number / max(1, len(data.loader(split)))) for split, number in batches.items()}
    return round(sum(len(data.splits[split]) * share for split, share in shares.items()))


def deliver(
    run: Run,
    trainer: "Trainer",
    classifier: "Classifier",
    head: dict[str, Any],
    task: "Task",
    data: "Data",
    metrics: dict[str, Any],
) -> None:
    """Write the model directory and the page, and tell loggers and terminal the result.

    Args:
        head: name and arguments for `heads.build_head`.
        task: calibrated.
    """
    from ft_lightning import loggers
    from ft_lightning.cli import summary
    from ft_lightning.deploy import model_dir, speaking
    from ft_lightning.features.extract import Computing
    from ft_lightning.pages import run as run_page

    layout = getattr(data, "layout", None)
    model_dir.save(run.model, classifier, head, task, metrics, reader=data.reader, layout=layout)
    how = Computing(data.reader, trainer.strategy.root_device, str(trainer.precision), num_workers=0)
    speaking.write_words(run, partial(model_dir.load, run.model), data.splits["test"], how)
    page = run_page.write(run)
    if trainer.loggers:
        loggers.conclude(trainer.loggers, metrics, run_page.figures(run), trainer.global_step)
    summary.after(run.path, task, metrics, page)


def output_callbacks(cfg: DictConfig, run: Run) -> list[Any]:
    """Return the callbacks that write a run's files and show progress; the last two write best.ckpt and last.ckpt."""
    from lightning.pytorch.callbacks import LambdaCallback

    from ft_lightning.callbacks.checkpoints import WithinEpoch, best_and_last
    from ft_lightning.callbacks.epoch_bar import EpochBar
    from ft_lightning.callbacks.epoch_table import EpochTable

    def keep_config(trainer: "Trainer", module: "LightningModule") -> None:
        if trainer.is_global_zero:
            run_config.write_config(cfg, run.path)

    epochs = EpochTable(run.table_path("metrics"))
    return [
        epochs,
        WithinEpoch(run.checkpoints, cfg.checkpoint_minutes),
        *([EpochBar()] if cfg.trainer.enable_progress_bar else []),
        # Only at the start of training: a config that is refused before must not replace one that works.
        *([LambdaCallback(on_train_start=keep_config)] if cfg.resume else []),
        *best_and_last(run.checkpoints, cfg.monitor, cfg.monitor_mode, epochs),
    ]


def checkpoint_to_resume(cfg: DictConfig, run: Run, data: "Data") -> Path | None:
    """Return the checkpoint that `resume` continues from; None to start from the beginning."""
    from ft_lightning.runs.checkpoint import newest_whole
    from ft_lightning.system.files import sweep

    if not cfg.resume:
        return None
    sweep(run.path)
    resume.refuse_other_data(data.split_table(), run)
    start = newest_whole(run.checkpoints)
    if start is None:
        log.warning("%s has no checkpoint yet: the run starts from the beginning.", run)
    return start


VERB = Verb("train", train, distributed=True, scores=True, libraries=("lightning", "torchvision", "pandas"))

if __name__ == "__main__":
    command.run(VERB)
