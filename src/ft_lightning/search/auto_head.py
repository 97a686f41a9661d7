"""`head=auto`: which head a run takes, and what it was compared with."""

from typing import Any, NamedTuple

from omegaconf import DictConfig

from ft_lightning import build
from ft_lightning.build import Pretrained
from ft_lightning.callbacks.stored_features import Requirement, RowCache
from ft_lightning.cli.auto_head import is_auto, with_head
from ft_lightning.cli.processes import refuse_processes
from ft_lightning.data.protocol import Data
from ft_lightning.runs.run import Run
from ft_lightning.runs.write import Stopwatch
from ft_lightning.search.workbench import REQUIREMENT, Workbench, best_of
from ft_lightning.system.console import number, pairs
from ft_lightning.tasks.task import Details


class Choice(NamedTuple):
    """The head that a run trains."""

    cfg: DictConfig  # of the run, with that head
    rows: RowCache  # stored features, if heads were compared on them
    computed: int = 0  # samples whose features were computed for it
    compared: Details = Details({}, {})  # what it was compared with
    required_by: Requirement | None = None


def choose(cfg: DictConfig, run: Run, data: Data, pretrained: Pretrained, clock: Stopwatch) -> Choice:
    """Return the head that a config names or, for `head=auto`, the better one on val.

    A resumed run takes the head that it has begun with.

    Args:
        clock: its lap "heads_s" ends when heads are compared, and their features computed.
    """
    rows = RowCache()
    if not is_auto(cfg):
        return Choice(cfg, rows)
    refuse_processes(build.trainer(cfg, [], None), "head=auto")
    clock.lap("setup_s")
    computed = 0
    if not (cfg.resume and run.record_path("heads").is_file()):
        trainings = Workbench(list(data.splits), data, pretrained, rows).train_heads(cfg, weights=False)
        tried = {
            training.cfg.head.name: {"epoch": training.best.epoch, **training.best.metrics} for training in trainings
        }
        taken = best_of(trainings).cfg.head.name
        run.write("heads", {"taken": taken, "monitor": cfg.monitor, "tried": tried})
        computed = trainings[0].stored.computed
        clock.lap("heads_s")
    compared = run.record("heads")
    pairs(head=_said(compared))
    return Choice(with_head(cfg, compared["taken"]), rows, computed, Details({"heads": compared}, {}), REQUIREMENT)


def _said(compared: dict[str, Any]) -> str:
    monitor = compared["monitor"]
    each = [
        f"{name} {monitor} {number(found[monitor])}, loss {number(found['val/loss'])}"
        for name, found in compared["tried"].items()
    ]
    return f"{'; '.join(each)}: {compared['taken']} is taken"
