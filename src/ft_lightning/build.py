"""From a composed config to the objects of a run."""

import logging
import os
import warnings
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from ft_lightning.cli import processes
from ft_lightning.cli.job import in_multirun
from ft_lightning.cli.processes import refuse_another_number_of_processes, refuse_processes
from ft_lightning.cli.values import solves_head
from ft_lightning.system.errors import UserError

if TYPE_CHECKING:
    from lightning import Callback, Trainer

    from ft_lightning.backbones.backbone import Backbone
    from ft_lightning.callbacks.stored_features import RowCache, StoredFeatures
    from ft_lightning.data.protocol import Data
    from ft_lightning.deploy.predictor import TrainedModel
    from ft_lightning.model import Classifier
    from ft_lightning.module import FineTuner
    from ft_lightning.runs.write import Stopwatch
    from ft_lightning.tasks.task import MakeTask

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
    r"Be aware that when using `ckpt_path`.*\['WeightAveraging'\]",  # what it has averaged is tested without it
    r".*isinstance\(treespec, LeafSpec\).* is deprecated",  # Lightning 2.6 with torch 2.15
)


class Pretrained(NamedTuple):
    """What training starts from."""

    backbone: "Backbone"
    earlier: "TrainedModel | None"  # whose backbone it is


def data(cfg: DictConfig) -> "Data":
    """The dataset, scanned, checked and split, and what its labels mean."""
    from ft_lightning.data.memo import open_memo

    memo = open_memo(cfg.cache.enabled, cfg.cache.dir, cfg.cache.verify)
    return instantiate(cfg.data, memo=memo, make_task=task(cfg))


def task(cfg: DictConfig) -> "MakeTask":
    """What makes a task of a dataset's labels."""
    return instantiate(cfg.task)


def data_location(cfg: DictConfig) -> str | None:
    """The folder of a dataset, made if nothing else is given; None where a CSV says it all."""
    if cfg.data.root or cfg.data.csv or not cfg.data.create:
        return cfg.data.root
    return str(instantiate(cfg.data.create)())


def pretrained(cfg: DictConfig) -> Pretrained:
    """The backbone that `model` names, with its own weights or, with `init_from`, with those of an earlier model."""
    from lightning import seed_everything

    seed_everything(cfg.seed, workers=True, verbose=False)
    if not cfg.init_from:
        return Pretrained(instantiate(cfg.model), None)
    from ft_lightning.deploy import model_dir

    earlier = model_dir.load(cfg.init_from)
    backbone = earlier.classifier.backbone
    found = asdict(backbone.identity)
    if _network(found) != _network(OmegaConf.to_container(cfg.model, resolve=True)):
        raise UserError(
            f"init_from={cfg.init_from} holds {found['name']} of {found['source']} with arguments "
            f"{found['arguments']}, model says {cfg.model.name} of {cfg.model.source}: use model={found['source']} "
            f"model.name={found['name']}, or leave init_from out."
        )
    came_from = f"{found['weights']}, trained further ({earlier.card['sha256'][:12]})"
    backbone.identity = replace(backbone.identity, weights=came_from)
    return Pretrained(backbone, earlier)


def _network(described: Any) -> tuple[Any, ...]:
    """What decides the shapes of weights: to timm, what follows a dot in a name is which weights."""
    return described["source"], described["name"].partition(".")[0], described["arguments"]


def _classifier(cfg: DictConfig, data: "Data", pretrained: Pretrained) -> "Classifier":
    """The backbone and a head of the task's size: a new one, or the earlier model's if that answers the same task."""
    from lightning import seed_everything

    from ft_lightning.finetune import freeze_plan
    from ft_lightning.model import Classifier

    backbone = pretrained.backbone
    data.connect(backbone.reader, instantiate(cfg.augment)(backbone.reader.preprocess), cfg.seed)
    seed_everything(cfg.seed, workers=True, verbose=False)  # again, so that a head starts the same under any backbone
    own = OmegaConf.masked_copy(cfg.head, [key for key in cfg.head if key != "init"])
    head = instantiate(own, in_features=backbone.feature_dim, num_classes=data.task.width)
    if earlier := pretrained.earlier:
        known = earlier.classifier.head.state_dict()
        shapes = [{name: value.shape for name, value in state.items()} for state in (known, head.state_dict())]
        if earlier.task.answers_like(data.task) and shapes[0] == shapes[1]:
            head.load_state_dict(known)
        else:
            log.warning("init_from: its head is another one, or for other classes: a new one is trained.")
    plan = freeze_plan(backbone, head, cfg.finetune.mode, cfg.finetune.k, cfg.finetune.freeze_bn)
    return Classifier(backbone, head, plan)


def described_head(cfg: DictConfig) -> dict[str, Any]:
    """Name and arguments of the head, as `heads.build_head` takes them."""
    return {str(key): value for key, value in cfg.head.items() if key not in ("_target_", "init")}


def module(cfg: DictConfig, data: "Data", pretrained: Pretrained) -> "FineTuner":
    """What is trained, what is minimised and by what; connects the data to what the weights expect."""
    from ft_lightning.module import FineTuner

    return FineTuner(
        _classifier(cfg, data, pretrained),
        data.task,
        loss=instantiate(cfg.loss, **data.task.arguments()),
        optimizer=instantiate(cfg.optimizer),
        scheduler=instantiate(cfg.scheduler),
        mix=instantiate(cfg.mix, num_classes=data.task.width),
        backbone_lr_factor=cfg.finetune.backbone_lr_factor,
        seed=cfg.seed,
    )


def stored_features(
    cfg: DictConfig, splits: Sequence[str], clock: "Stopwatch", rows: "RowCache | None" = None, quiet: bool = False
) -> "StoredFeatures":
    """What computes the frozen part of these splits once; the other arguments are those of `StoredFeatures`."""
    from ft_lightning.callbacks.stored_features import RowCache, StoredFeatures

    required_by = None
    if cfg.repeats > 1:
        required_by = (f"repeats={cfg.repeats}", "leave it out; -m seed=0,1,2 trains several times")
    elif solves_head(cfg):
        required_by = ("optimizer=lbfgs", "use optimizer=adam")
    return StoredFeatures(
        cfg.cache,
        splits,
        required_by,
        probe=cfg.head.init == "probe",
        show_progress=cfg.trainer.enable_progress_bar,
        quiet=quiet,
        clock=clock,
        rows=rows or RowCache(),
    )


def trainer(cfg: DictConfig, callbacks: "Sequence[Callback]", run_dir: Path | None) -> "Trainer":
    """Lightning's Trainer with these callbacks and those that `callback` adds.

    Args:
        run_dir: where `logger` writes and our checkpoints are; None for a training that leaves no files.
    """
    import torch

    from ft_lightning.callbacks.finite import Finite
    from ft_lightning.callbacks.solve_head import SolveHead
    from ft_lightning.optim import strengths
    from ft_lightning.runs.checkpoint import SealedCheckpointIO
    from ft_lightning.system.hardware import pick_device, pick_precision

    if not torch.cuda.is_available():
        # Lightning has torch look for a driver's library at each optimizer step: a tenth of a cached epoch.
        os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "0"
    for library in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(library).setLevel(logging.WARNING)  # the summary says it better
    for message in _NOISE:
        warnings.filterwarnings("ignore", message)
    # Each epoch of a solver tries one L2 strength.
    epochs = len(strengths(cfg.optimizer.weight_decay)) if solves_head(cfg) else cfg.trainer.max_epochs
    trainer = instantiate(
        cfg.trainer,
        max_epochs=epochs,
        precision=pick_precision(cfg.precision, pick_device(cfg.trainer.accelerator, "trainer.accelerator").type),
        callbacks=[
            Finite(),
            *callbacks,
            *([SolveHead()] if solves_head(cfg) else []),
            *(instantiate(callback) for callback in cfg.callback.values()),
        ],
        logger=(_extra_loggers(cfg, run_dir) if run_dir else []) or False,
        enable_checkpointing=run_dir is not None,
        enable_progress_bar=run_dir is not None and cfg.trainer.enable_progress_bar,
        plugins=[SealedCheckpointIO()],
        default_root_dir=run_dir,
    )
    if in_multirun():
        refuse_processes(trainer, "each job of a multirun")
    refuse_another_number_of_processes(trainer)
    processes.end_together()
    return trainer


def stop_averaging(trainer: "Trainer") -> None:
    """What `callback=ema` has averaged is in the module; Lightning would put it there again in place of best.ckpt."""
    from lightning.pytorch.callbacks import WeightAveraging

    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
    callbacks[:] = [callback for callback in callbacks if not isinstance(callback, WeightAveraging)]


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
