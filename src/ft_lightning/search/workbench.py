"""Trainings that leave no files and share what is the same in all of them: what searches and repeats are made of."""

import copy
import gc
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from lightning import Trainer
from omegaconf import DictConfig, OmegaConf

from ft_lightning import build
from ft_lightning.build import Pretrained
from ft_lightning.callbacks.best_epoch import BestEpoch
from ft_lightning.callbacks.stored_features import RowCache, StoredFeatures
from ft_lightning.cli.processes import refuse_processes
from ft_lightning.cli.values import check_values
from ft_lightning.data.protocol import Data
from ft_lightning.module import FineTuner
from ft_lightning.runs.write import Stopwatch
from ft_lightning.system.errors import UserError


@dataclass(frozen=True)
class Training:
    """One that is done."""

    trainer: Trainer
    module: FineTuner
    best: BestEpoch
    stored: StoredFeatures
    seconds: dict[str, float]  # setup_s, features_s, fit_s


class Workbench:
    """Trains configs one after the other, in this process, with the same dataset, backbone and stored features.

    Args:
        splits: those that trainings look at; the features of no other are computed.
        data, pretrained: for all trainings, whatever their configs say; None: as they say.
        rows: stored features there are already.
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
        """The dataset, scanned again only if another one is asked for."""
        if self._given[0]:
            return self._given[0]
        key = _key(cfg, "data", "cache")
        if self._data is None or self._data[0] != key:
            self._data = (key, build.data(cfg))
        return self._data[1]

    def pretrained(self, cfg: DictConfig) -> Pretrained:
        """The backbone as it was pretrained, for good: whoever trains it gets a copy. One is kept at a time."""
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
            self._pretrained = None  # not two in memory
            self._pretrained = (key, build.pretrained(cfg))
        return self._pretrained[1]

    def train(self, cfg: DictConfig, report: Callable[[int, float], None], weights: bool) -> Training:
        """Fit what a config of conf/train.yaml says.

        Args:
            report, weights: as `BestEpoch` takes them.
        """
        check_values(cfg)
        clock = Stopwatch()
        data = self.data(cfg)
        module = build.module(cfg, data, self.pretrained(cfg))
        stored = build.stored_features(cfg, self.splits, clock, self._rows, quiet=True)
        best = BestEpoch(cfg.monitor, cfg.monitor_mode, report, weights)
        trainer = build.trainer(cfg, [stored, best], run_dir=None)
        refuse_processes(trainer, "each of several trainings in a row")
        clock.lap("setup_s")
        trainer.fit(module, datamodule=data)  # type: ignore[arg-type]
        clock.lap("fit_s")
        if best.epoch < 0:
            raise UserError(
                f"trainer.check_val_every_n_epoch={cfg.trainer.check_val_every_n_epoch}: no epoch was validated, and "
                "there is none to choose."
            )
        return Training(trainer, module, best, stored, clock.seconds)


def _key(cfg: DictConfig, *names: str) -> str:
    """The resolved values of these keys."""
    values = (cfg[name] for name in names)
    return json.dumps([OmegaConf.to_container(v, resolve=True) if isinstance(v, DictConfig) else v for v in values])
