"""Runs many trainings in one process, without files, for searches, repeats and folds; they share what they can."""

import copy
import gc
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from lightning import Trainer
from omegaconf import DictConfig, OmegaConf

from ft_lightning import build
from ft_lightning.build import Pretrained
from ft_lightning.callbacks.best_epoch import BestEpoch
from ft_lightning.callbacks.checkpoints import stop_averaging
from ft_lightning.callbacks.stored_features import Requirement, RowCache, StoredFeatures
from ft_lightning.cli.auto_head import CANDIDATES, INSTEAD, is_auto, with_head
from ft_lightning.cli.processes import refuse_processes
from ft_lightning.data.problems import DataProblemsError
from ft_lightning.data.protocol import Data
from ft_lightning.features.extract import samples_per_s
from ft_lightning.module import FineTuner
from ft_lightning.runs.write import Stopwatch
from ft_lightning.system.errors import UserError
from ft_lightning.tasks.task import Outputs

REQUIREMENT = Requirement("head=auto", INSTEAD)  # to compare heads


@dataclass(frozen=True)
class Training:
    """A finished training."""

    cfg: DictConfig
    trainer: Trainer
    module: FineTuner
    best: BestEpoch
    stored: StoredFeatures
    seconds: dict[str, float]  # setup_s, features_s, fit_s


class Workbench:
    """Trains configs one after the other in this process, sharing dataset, backbone and stored features.

    Args:
        splits: those that trainings use; features of other splits are not computed.
        data, pretrained: used for all trainings, whatever their configs; None: built from the configs.
        rows: existing stored features.
    """

    def __init__(
        self,
        splits: Sequence[str],
        data: Data | None = None,
        pretrained: Pretrained | None = None,
        rows: RowCache | None = None,
    ) -> None:
        self.splits = splits
        self._given = data, pretrained
        self._data: tuple[str, Data] | None = None
        self._pretrained: tuple[str, Pretrained] | None = None
        self._rows = rows or RowCache()

    def data(self, cfg: DictConfig) -> Data:
        """Return the dataset, scanned again only if the config names another one."""
        if self._given[0]:
            return self._given[0]
        key = _key(cfg, "data", "cache")
        if self._data is None or self._data[0] != key:
            self._data = (key, build.data(cfg))
        return self._data[1]

    def pretrained(self, cfg: DictConfig) -> Pretrained:
        """Return the shared pretrained backbone, or a deep copy if this config trains it; one is cached at a time."""
        pretrained = self._given[1] or self._loaded(cfg)
        if cfg.finetune.mode == "frozen":
            return pretrained
        gc.collect()  # the copy before this one may hang in the cycles of its Trainer
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return Pretrained(copy.deepcopy(pretrained.backbone), pretrained.earlier)

    def _loaded(self, cfg: DictConfig) -> Pretrained:
        key = _key(cfg, "model", "init_from", *([] if cfg.model.weights else ["seed"]))  # random weights depend on it
        if self._pretrained is None or self._pretrained[0] != key:
            self._pretrained = None  # frees the old one before the new one is loaded
            self._pretrained = (key, build.pretrained(cfg))
        return self._pretrained[1]

    def train(self, cfg: DictConfig, report: Callable[[int, float], None], weights: bool) -> Training:
        """Fit a config of conf/train.yaml.

        With `head=auto` it is the training of the better head, and nothing is reported.

        Args:
            report, weights: as in `BestEpoch`.
        """
        if is_auto(cfg):
            return best_of(self.train_heads(cfg, weights))
        return self._train(cfg, report, weights)

    def train_heads(self, cfg: DictConfig, weights: bool) -> list[Training]:
        """Fit a config of `head=auto` with each of the heads that it compares."""
        build.check(cfg)
        found = []
        for name in CANDIDATES:
            try:
                found.append(self._train(with_head(cfg, name), lambda epoch, value: None, weights, REQUIREMENT))
            except UserError as error:
                if str(error).startswith(REQUIREMENT.what) or isinstance(error, DataProblemsError):
                    raise
                raise UserError(f"head=auto tries head={name}: {error}") from error
        return found

    def _train(
        self,
        cfg: DictConfig,
        report: Callable[[int, float], None],
        weights: bool,
        required_by: Requirement | None = None,
    ) -> Training:
        build.check(cfg)
        clock = Stopwatch()
        data = self.data(cfg)
        module = build.module(cfg, data, self.pretrained(cfg))
        stored = build.stored_features(cfg, self.splits, clock, self._rows, True, required_by)
        best = BestEpoch(cfg.monitor, cfg.monitor_mode, report, weights)
        trainer = build.trainer(cfg, [stored, best], run_dir=None)
        refuse_processes(trainer, "each of several trainings in a row")
        clock.lap("setup_s")
        trainer.fit(module, datamodule=data)  # type: ignore[arg-type]
        clock.lap("fit_s")
        if best.epoch < 0:
            raise UserError(
                f"trainer.check_val_every_n_epoch={cfg.trainer.check_val_every_n_epoch}: no epoch was validated, so "
                "there is none to choose."
            )
        return Training(cfg, trainer, module, best, stored, clock.seconds)

    def outputs(self, cfg: DictConfig) -> dict[str, Outputs]:
        """Fit a config, and return what its best epoch outputs for val and test."""
        training = self.train(cfg, report=lambda epoch, value: None, weights=True)
        data: Any = self.data(cfg)
        stop_averaging(training.trainer)
        training.best.restore(training.module)
        training.trainer.validate(training.module, datamodule=data, verbose=False)
        training.trainer.test(training.module, datamodule=data, verbose=False)
        return training.module.outputs


def best_of(trainings: Sequence[Training]) -> Training:
    """Return the best training by its best epoch, of equal ones the first."""
    return min(trainings, key=lambda training: training.best.rank)


def found_by(training: Training, of_backbone: bool) -> dict[str, Any]:
    """Return what trials.csv holds of a trial besides its value."""
    module = training.module
    classifier, outputs = module.classifier, module.outputs["val"]
    epoch_metrics = {name.removeprefix("val/"): value for name, value in training.best.metrics.items()}
    found = {
        "epoch": training.best.epoch,
        **module.task.summary(epoch_metrics, len(outputs.positions)),
        "parameters": sum(p.numel() for p in classifier.parameters()),
        "trainable": sum(p.numel() for p in classifier.parameters() if p.requires_grad),
        "computed": training.stored.computed,
        **{name: round(seconds, 3) for name, seconds in training.seconds.items() if name != "total_s"},
    }
    if of_backbone:
        trainer = training.trainer
        found["samples_per_s"] = samples_per_s(classifier, trainer.strategy.root_device, str(trainer.precision))
    return found


def _key(cfg: DictConfig, *names: str) -> str:
    """Return the resolved values of these keys as text."""
    values = (cfg[name] for name in names)
    return json.dumps([OmegaConf.to_container(v, resolve=True) if isinstance(v, DictConfig) else v for v in values])
