"""`python -m ft_lightning.train`: fit, test, write the model directory.

python -m ft_lightning.train data.root=/my/images
python -m ft_lightning.train model=resnet50 data=mydata finetune=partial
python -m ft_lightning.train -m model=resnet18,resnet50 optimizer.lr=1e-3,1e-2
python -m ft_lightning.train resume=outputs/train/<run>
"""

import logging
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from ft_lightning import command, processes, resume
from ft_lightning.config_checks import check_values, solves_head
from ft_lightning.errors import UserError
from ft_lightning.problems import lists_problems

if TYPE_CHECKING:
    from lightning import Trainer
    from lightning.pytorch.callbacks import ModelCheckpoint

    from ft_lightning.data import ImageFolderDataModule
    from ft_lightning.model import Classifier
    from ft_lightning.module import FineTuner
    from ft_lightning.stored import StoredFeatures


log = logging.getLogger(__name__)

# What the frameworks say in every run and a user can do nothing about.
_NOISE = (
    r".*module\(s\) in eval mode at the start of training",  # they are meant to be
    r".*does not have many workers",  # the number is chosen for the machine
    r".*recommended to use `self\.log\(.*sync_dist=True",  # every process logs the same value already
    r".*could not find the monitored key",  # in epochs before the first that is validated
    r"Checkpoint directory .* exists and is not empty",  # when a run goes on
    r".*your dataloader is not resumable",  # it is
    r".*distributed\.nn\.functional\.all_gather is deprecated",  # Lightning 2.6 with torch 2.15
    r".*isinstance\(treespec, LeafSpec\).* is deprecated",  # Lightning 2.6 with torch 2.15
)


@lists_problems
def train(cfg: DictConfig, run_dir: Path) -> dict[str, Any]:
    """One run of what conf/train.yaml and the command line say; its files go to `run_dir`; returns metrics.json."""
    from ft_lightning import artifact, memo, problems, results, summary, tables

    check_values(cfg)
    clock = results.Stopwatch()
    known = memo.open_memo(cfg.cache.enabled, cfg.cache.dir, cfg.cache.verify)
    data = instantiate(cfg.data, seed=cfg.seed, memo=known)
    data.full_batch = solves_head(cfg)
    classifier = build_classifier(cfg, data)
    module = build_module(cfg, classifier, data)
    stored = build_stored_features(cfg, ready=lambda: clock.lap("features_s"))
    trainer, best = build_trainer(cfg, run_dir, stored)
    start = checkpoint_to_go_on_from(cfg, run_dir, data)
    if trainer.is_global_zero:
        tables.write_table(data.split_table(), run_dir / "split.csv")
        problems.write_problems(data.left_out, run_dir)
        summary.before(run_dir, data, classifier, trainer, start)
    clock.lap("setup_s")

    trainer.fit(module, datamodule=data, ckpt_path=start)
    clock.lap("fit_s")

    chosen = best.best_model_path if Path(best.best_model_path).is_file() else None
    if not chosen:
        log.warning("There is no best.ckpt, of an epoch that was validated: the last epoch is tested, not the best.")
    trainer.validate(module, datamodule=data, ckpt_path=chosen, verbose=False)
    trainer.test(module, datamodule=data, verbose=False)
    clock.lap("test_s")

    if not trainer.is_global_zero:
        return {}
    processes.go_on_alone()
    timing = clock.timing(trainer.current_epoch - module.first_epoch, data, stored)
    metrics = results.write(run_dir, module.outputs, data, timing)
    head = {key: value for key, value in cfg.head.items() if key not in ("_target_", "init")}
    artifact.save(run_dir / "model", classifier, head, data, metrics)
    summary.after(run_dir, metrics)
    return metrics


def build_classifier(cfg: DictConfig, data: "ImageFolderDataModule") -> "Classifier":
    """The pretrained backbone and a new head of the data's size; tells the data what the weights expect."""
    from lightning import seed_everything

    from ft_lightning.finetune import freeze_plan
    from ft_lightning.model import Classifier

    seed_everything(cfg.seed, workers=True, verbose=False)
    backbone = instantiate(cfg.model)
    preprocess = backbone.preprocess
    data.set_transforms(preprocess, instantiate(cfg.augment)(preprocess))
    seed_everything(cfg.seed, workers=True, verbose=False)  # again, so that a head starts the same under any backbone
    own = OmegaConf.masked_copy(cfg.head, [key for key in cfg.head if key != "init"])
    head = instantiate(own, in_features=backbone.feature_dim, num_classes=len(data.class_names))
    plan = freeze_plan(backbone, head, cfg.finetune.mode, cfg.finetune.k, cfg.finetune.freeze_bn)
    return Classifier(backbone, head, plan)


def build_module(cfg: DictConfig, classifier: "Classifier", data: "ImageFolderDataModule") -> "FineTuner":
    """What is minimised, by what."""
    from ft_lightning.module import FineTuner

    return FineTuner(
        classifier,
        loss=instantiate(cfg.loss, class_counts=data.class_counts),
        optimizer=instantiate(cfg.optimizer),
        scheduler=instantiate(cfg.scheduler),
        backbone_lr_factor=cfg.finetune.backbone_lr_factor,
        seed=cfg.seed,
    )


def checkpoint_to_go_on_from(cfg: DictConfig, run_dir: Path, data: "ImageFolderDataModule") -> Path | None:
    """Where `resume` takes the run up again; None to begin at the beginning.

    Raises:
        UserError: the dataset is another one now.
    """
    from ft_lightning.checkpoint import newest_whole
    from ft_lightning.files import sweep

    if not cfg.resume:
        return None
    sweep(run_dir)
    resume.refuse_other_data(data.split_table(), run_dir)
    start = newest_whole(run_dir / "checkpoints")
    if start is None:
        log.warning("%s has no checkpoint yet: the run begins at the beginning.", run_dir)
    return start


def build_stored_features(cfg: DictConfig, ready: Callable[[], None]) -> "StoredFeatures":
    """What computes the frozen part once; calls `ready` when it has."""
    from ft_lightning import summary
    from ft_lightning.stored import StoredFeatures

    needed_by = "lbfgs" if solves_head(cfg) else None
    return StoredFeatures(cfg.cache.enabled, cfg.cache.dir, needed_by, cfg.head.init == "probe", summary, ready)


def build_trainer(cfg: DictConfig, run_dir: Path, stored: "StoredFeatures") -> "tuple[Trainer, ModelCheckpoint]":
    """Lightning's Trainer with our checkpoints, metrics.csv, progress bar, and what `callback` and `logger` add.

    The second value knows the best epoch.
    """
    import torch
    from lightning.pytorch.callbacks import LambdaCallback

    from ft_lightning.checkpoint import SealedCheckpointIO, WithinEpoch, best_and_last
    from ft_lightning.hardware import pick_device, pick_precision
    from ft_lightning.history import EpochTable
    from ft_lightning.optim import strengths
    from ft_lightning.progress import EpochBar

    if not torch.cuda.is_available():
        # Lightning has torch look for a driver's library at each optimizer step: a tenth of a cached epoch.
        os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "0"
    for library in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(library).setLevel(logging.WARNING)  # the summary says it better
    for message in _NOISE:
        warnings.filterwarnings("ignore", message)
    best, last = best_and_last(run_dir / "checkpoints", cfg.monitor, cfg.monitor_mode)
    kept = [best, last, WithinEpoch(run_dir / "checkpoints", cfg.checkpoint_minutes)]
    # A config that is refused on the way must not take the place of the one that works.
    accepted = LambdaCallback(on_train_start=lambda trainer, module: _keep_config(cfg, run_dir, trainer))
    bar = [EpochBar()] if cfg.trainer.enable_progress_bar else []
    # Each epoch of a solver tries one L2 strength.
    epochs = len(strengths(cfg.optimizer.weight_decay)) if solves_head(cfg) else cfg.trainer.max_epochs
    trainer = instantiate(
        cfg.trainer,
        max_epochs=epochs,
        precision=pick_precision(cfg.precision, pick_device(cfg.trainer.accelerator, "trainer.accelerator").type),
        callbacks=[
            stored,
            EpochTable(run_dir / "metrics.csv"),
            *kept,
            *bar,
            *([accepted] if cfg.resume else []),
            *(instantiate(callback) for callback in cfg.callback.values()),
        ],
        logger=_extra_loggers(cfg, run_dir) or False,
        plugins=[SealedCheckpointIO()],
        default_root_dir=run_dir,
    )
    if command.in_multirun() and trainer.num_devices * trainer.num_nodes > 1:
        raise UserError(
            f"trainer.devices={cfg.trainer.devices} starts processes that would each run the whole multirun: "
            "run the jobs one by one, or with trainer.devices=1."
        )
    _refuse_another_number_of_processes(trainer)
    processes.end_together()
    return trainer, best


def _keep_config(cfg: DictConfig, run_dir: Path, trainer: "Trainer") -> None:
    if trainer.is_global_zero:
        command.write_config(cfg, run_dir)


def _refuse_another_number_of_processes(trainer: "Trainer") -> None:
    """Each of several processes would otherwise train alone, or wait for ever for one that was not started."""
    needed = trainer.num_devices * trainer.num_nodes
    started = int(os.environ["WORLD_SIZE"]) if "RANK" in os.environ else None  # by torchrun
    if started not in (None, needed) or (needed == 1 and not command.is_main_process()):
        raise UserError(
            f"trainer.devices={trainer.num_devices}, trainer.num_nodes={trainer.num_nodes}: a run of {needed} "
            f"processes, but torchrun or srun started {started or 'more'}: say trainer=ddp (or trainer=ddp_cpu) with "
            "as many trainer.devices as there are processes on a machine."
        )


def _extra_loggers(cfg: DictConfig, run_dir: Path) -> list[Any]:
    loggers = []
    for name, logger in cfg.logger.items():
        try:
            loggers.append(instantiate(logger, save_dir=str(run_dir)))
        except InstantiationException as error:
            if not isinstance(error.__cause__, ImportError):
                raise
            raise UserError(f"logger={name} needs a package: pip install {name} ({error.__cause__})") from error
    return loggers


if __name__ == "__main__":
    command.run("train", train, distributed=True)
