"""`python -m ft_lightning.check`: a look at a dataset before time is spent on it -> report.html, issues.csv.

python -m ft_lightning.check data.root=/my/images
python -m ft_lightning.train data.root=/my/images data.exclude=outputs/check/<run>/issues.csv
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from ft_lightning.cli import command
from ft_lightning.cli.job import Verb, typed_overrides
from ft_lightning.runs.run import Run
from ft_lightning.system.errors import UserError, number_of
from ft_lightning.tasks.registry import task_class

if TYPE_CHECKING:
    from torch import Tensor

    from ft_lightning.backbones.backbone import Backbone
    from ft_lightning.features.extract import Computing
    from ft_lightning.readers.sample import Sample


_SHOWN = 5  # blocking findings on the terminal


def check(cfg: DictConfig, run_dir: Path) -> dict[str, Any]:
    """Report every error and oddity of a dataset with its fix; the dataset itself is not changed."""
    from ft_lightning.cli import dataset, summary
    from ft_lightning.data.kinds import kind_of, skips
    from ft_lightning.data.memo import open_memo
    from ft_lightning.data.scan import base_of
    from ft_lightning.issues.findings import Finding, Findings
    from ft_lightning.issues.look import Place, look_at_features, look_at_files, look_at_sizes
    from ft_lightning.pages import check as check_page
    from ft_lightning.system.console import short

    kind, found = kind_of(cfg.data), Findings()
    skips(kind, cfg.data)
    root, table = dataset.location(cfg)
    memo = open_memo(cfg.cache.enabled, cfg.cache.dir, cfg.cache.verify)
    labels = dataset.labels(cfg.data, task_class(cfg.task.name))
    place = Place(kind, dataset.source(cfg.data, kind), root, table)
    looked = look_at_files(cfg.data, place, labels, dataset.task(cfg), memo, found)
    pairs: list[tuple[str, str, float]] = []
    facts: dict[str, Any] = {}
    closer = cfg.features and bool(looked.splits)
    try:
        if closer:
            backbone, how = computing(cfg)
            kind.refuse_other(how.reader)
            distinct = look_at_sizes(looked, how.reader, cfg.data, found)
            facts = how.reader.facts(list(distinct))
            features = features_of(cfg, list(distinct), backbone, how)
            pairs, closer = look_at_features(looked, distinct, features, cfg.seed, how.reader, found), False
    finally:  # without weights, or after Ctrl-C, the findings about files are still reported
        if closer:
            found.add([Finding("not looked for", "Wrong labels, outliers and near-duplicates: it ended before.", "")])
        written = check_page.write_check(
            Run(run_dir), looked, found, pairs, str(table or root or base_of(looked.samples)), facts
        )
        summary.after_check(run_dir, found, overrides_of_train())
    if found.blocking:
        first = [f"{finding.said} {finding.fix}" for finding in found.blocking[:_SHOWN]]
        page, count = short(Run(run_dir).page), len(found.blocking)
        raise UserError(
            "\n".join([f"This dataset cannot train as it is: {number_of(count, 'finding')}, all on {page}:", *first])
        )
    return written


def overrides_of_train() -> list[str]:
    """Return the overrides that train takes too; "..." if there was no command line."""
    typed = typed_overrides()
    if typed is None:
        return ["..."]
    others = ("features=", "device=", "data.exclude=", "hydra.")
    return [word for word in typed if not word.lstrip("+~").startswith(others)]


def computing(cfg: DictConfig) -> "tuple[Backbone, Computing]":
    """Return the backbone whose features compare the samples, and how they are computed."""
    from ft_lightning import build
    from ft_lightning.features.extract import Computing

    backbone = build.pretrained(cfg).backbone
    reader = backbone.reader.adapted(cfg.data)
    how = Computing.chosen(reader, cfg.device, cfg.precision, cfg.data.num_workers, show_progress=True)
    return backbone, how


def features_of(cfg: DictConfig, samples: "list[Sample]", backbone: "Backbone", how: "Computing") -> "Tensor":
    """Compute features (N, D) through the feature store, so that train can reuse them."""
    import torch

    from ft_lightning.features.extract import open_store
    from ft_lightning.features.fill import fill

    rows = fill(open_store(cfg.cache.dir, backbone, how, on_disk=cfg.cache.enabled), backbone, samples, how)
    return rows[torch.arange(len(rows))].float()


VERB = Verb("check", check, libraries=("torchvision", "pandas"))

if __name__ == "__main__":
    command.run(VERB)
