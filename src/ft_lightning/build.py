"""Builds the objects of a run from a composed config."""

import logging
import os
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from omegaconf import DictConfig, OmegaConf

from ft_lightning.cli import dataset, extras, finetuning, language, processes, rehearsal
from ft_lightning.cli.job import in_multirun
from ft_lightning.cli.objects import blaming, check_targets, make, make_loss, make_mix, make_scheduler, refuse_given
from ft_lightning.cli.solver import check_beside_solver, epochs, solves_head
from ft_lightning.cli.values import check_values
from ft_lightning.system.errors import UserError
from ft_lightning.system.noise import hush_frameworks

if TYPE_CHECKING:
    from lightning import Callback, Trainer

    from ft_lightning.backbones.backbone import Backbone
    from ft_lightning.callbacks.stored_features import Requirement, RowCache, StoredFeatures
    from ft_lightning.data.protocol import Data
    from ft_lightning.deploy.predictor import TrainedModel
    from ft_lightning.model import Classifier
    from ft_lightning.module import FineTuner
    from ft_lightning.runs.write import Stopwatch

log = logging.getLogger(__name__)


class Pretrained(NamedTuple):
    """The backbone that training starts from."""

    backbone: "Backbone"
    earlier: "TrainedModel | None"  # the model of `init_from`, whose backbone it is


def check(cfg: DictConfig) -> None:
    """Raise UserError for a value that would fail late or be ignored silently; settle `monitor_mode`."""
    check_targets(cfg)
    check_values(cfg)
    language.check(cfg)
    if solves_head(cfg):
        check_beside_solver(cfg)


def data(cfg: DictConfig) -> "Data":
    """Scan, check and split the dataset, and make its task."""
    from ft_lightning.data.kinds import table_of
    from ft_lightning.data.memo import open_memo
    from ft_lightning.data.protocol import Data

    memo = open_memo(cfg.cache.enabled, cfg.cache.dir, cfg.cache.verify)
    root, table = dataset.location(cfg)
    found: dict[str, Any] = {"root": root} | ({} if table is None or table == table_of(cfg.data) else {"table": table})
    return make(
        cfg, "data", Data, over=tuple(found), **found, memo=memo, task_name=cfg.task.name, make_task=dataset.task(cfg)
    )


def pretrained(cfg: DictConfig) -> Pretrained:
    """Load the backbone that `model` names, with its own weights or those of the earlier model in `init_from`."""
    from lightning import seed_everything

    seed_everything(cfg.seed, workers=True, verbose=False)
    if not cfg.init_from:
        from ft_lightning.backbones.backbone import Backbone

        return Pretrained(make(cfg, "model", Backbone, **language.purpose(cfg)), None)
    from ft_lightning.backbones import load
    from ft_lightning.backbones.load_text import checkpoint
    from ft_lightning.deploy import model_dir

    earlier = model_dir.load(cfg.init_from, key="init_from")
    language.refuse_earlier(cfg, earlier)
    backbone, found = earlier.classifier.backbone, asdict(earlier.classifier.backbone.identity)
    asked: Any = OmegaConf.to_container(cfg.model, resolve=True)
    if not load.names(asked, found):
        raise UserError(
            f"init_from={cfg.init_from} holds {load.said(found)}, model says {load.said(asked)}: "
            f"use model={found['source']} model.name={found['name']}, or leave init_from out."
        )
    if cfg.model.get("grad_checkpointing"):
        checkpoint(backbone.network, found["name"])
    came_from = f"{found['weights']}, as an earlier model has them ({earlier.card['sha256'][:12]})"
    backbone.identity = replace(backbone.identity, weights=came_from)
    return Pretrained(backbone, earlier)


def _classifier(cfg: DictConfig, data: "Data", pretrained: Pretrained) -> "Classifier":
    """Join the backbone and a head of the task's size: new, or the earlier model's if its task is the same."""
    from lightning import seed_everything
    from torch import nn

    backbone = pretrained.backbone
    reader = backbone.reader if cfg.finetune.mode == "frozen" else backbone.reader.for_training()
    data.connect(reader, rehearsal.augmentation(cfg, reader), cfg.seed)
    seed_everything(cfg.seed, workers=True, verbose=False)  # again: the same head under any backbone
    head = make(cfg, "head", nn.Module, but=("init",), in_features=backbone.feature_dim, num_classes=data.task.width)
    if earlier := pretrained.earlier:
        known = earlier.classifier.head.state_dict()
        shapes = [{name: value.shape for name, value in state.items()} for state in (known, head.state_dict())]
        if earlier.task.answers_like(data.task) and shapes[0] == shapes[1]:
            earlier.layout.refuse_others(data.splits["train"], "data.text")
            head.load_state_dict(known)
        else:
            log.warning("init_from: its head differs, or answers something else: a new one is trained.")
    return finetuning.classifier(cfg, backbone, head)


def described_head(cfg: DictConfig) -> dict[str, Any]:
    """Return the head's name and arguments for `heads.build_head`."""
    return {str(key): value for key, value in cfg.head.items() if key not in ("_target_", "init")}


def module(cfg: DictConfig, data: "Data", pretrained: Pretrained) -> "FineTuner":
    """Build the LightningModule with its loss and optimizer; connect the data to the backbone's reader."""
    from ft_lightning.module import FineTuner

    own = make(cfg, "module", _partial_=True)
    if not (isinstance(own.func, type) and issubclass(own.func, FineTuner)):
        raise UserError(
            f"module._target_={cfg.module._target_}: make it a subclass of {FineTuner.__module__}.FineTuner."
        )
    if solves_head(cfg) and own.func.loss_of is not FineTuner.loss_of:
        raise UserError(
            f"optimizer=lbfgs minimises `loss`, but {cfg.module._target_} minimises something else: use optimizer=adam."
        )
    given: dict[str, Any] = {
        "loss": make_loss(cfg, data.task.arguments()),
        "optimizer": make(cfg, "optimizer"),
        "scheduler": make_scheduler(cfg),
        "mix": make_mix(cfg, data.task, pretrained.backbone.reader),
        "backbone_lr_factor": cfg.finetune.backbone_lr_factor,
        "seed": cfg.seed,
    }
    refuse_given(cfg, "module", given)
    with blaming(cfg, "module"):
        module = own(_classifier(cfg, data, pretrained), data.task, **given)
    rehearsal.rehearse(cfg, module, data)
    return module


def stored_features(
    cfg: DictConfig,
    splits: Sequence[str],
    clock: "Stopwatch",
    rows: "RowCache | None" = None,
    quiet: bool = False,
    required_by: "Requirement | None" = None,
) -> "StoredFeatures":
    """Build the callback that computes these splits' features once; other arguments as in `StoredFeatures`."""
    from ft_lightning.callbacks.stored_features import Chooser, RowCache, StoredFeatures

    return StoredFeatures(
        cache=cfg.cache,
        splits=splits,
        required_by=_requirement(cfg, required_by),
        probe=Chooser(cfg.monitor, cfg.monitor_mode) if cfg.head.init == "probe" else None,
        show_progress=cfg.trainer.enable_progress_bar,
        quiet=quiet,
        clock=clock,
        rows=rows or RowCache(),
    )


def _requirement(cfg: DictConfig, other: "Requirement | None") -> "Requirement | None":
    """Return the setting of a config that needs stored features most, or the other one; None if there is none."""
    from ft_lightning.callbacks.stored_features import Requirement

    if cfg.repeats > 1:
        return Requirement(f"repeats={cfg.repeats}", "leave it out; -m seed=0,1,2 trains several times")
    if cfg.folds > 1:
        instead = f"leave it out; it would cost {cfg.folds} more trainings as long as this one"
        return Requirement(f"folds={cfg.folds}", instead, ("train", "val", "test"))
    solver = Requirement("optimizer=lbfgs", "use optimizer=adam")
    return other or (solver if solves_head(cfg) else None)


def trainer(cfg: DictConfig, callbacks: "Sequence[Callback]", run_dir: Path | None) -> "Trainer":
    """Build Lightning's Trainer with these callbacks and those of `callback`.

    Args:
        run_dir: folder for loggers and checkpoints; None for a training that leaves no files.
    """
    import torch
    from lightning import Trainer

    from ft_lightning.callbacks.finite import Finite
    from ft_lightning.callbacks.one_thread import OneThread
    from ft_lightning.callbacks.solve_head import SolveHead
    from ft_lightning.runs.checkpoint import SealedCheckpointIO
    from ft_lightning.system.hardware import pick_device, pick_precision

    if not torch.cuda.is_available():
        # Lightning makes torch look for a driver library at each optimizer step: a tenth of a cached epoch.
        os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "0"
    hush_frameworks()
    trainer = make(
        cfg,
        "trainer",
        Trainer,
        over=("max_epochs", "enable_progress_bar"),
        max_epochs=epochs(cfg),
        precision=pick_precision(cfg.precision, pick_device(cfg.trainer.accelerator, "trainer.accelerator").type),
        callbacks=[
            Finite(),
            OneThread(),
            *callbacks,
            *([SolveHead()] if solves_head(cfg) else []),
            *extras.callbacks(cfg),
        ],
        logger=(extras.loggers(cfg, run_dir) if run_dir else []) or False,
        enable_checkpointing=run_dir is not None,
        enable_progress_bar=run_dir is not None and cfg.trainer.enable_progress_bar,
        plugins=[SealedCheckpointIO()],
        default_root_dir=run_dir,
    )
    if in_multirun():
        processes.refuse_processes(trainer, "each job of a multirun")
    processes.refuse_parts(trainer)
    processes.check_process_count(trainer)
    processes.end_together()
    return trainer
