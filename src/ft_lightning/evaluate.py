"""`python -m ft_lightning.evaluate`: model directory + labelled data -> metrics.json, predictions.csv.

python -m ft_lightning.evaluate model_dir=outputs/train/<run> data.root=/my/labelled/images
"""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from ft_lightning.cli import command
from ft_lightning.cli.job import Verb
from ft_lightning.runs.run import Run
from ft_lightning.system.errors import UserError, number_of

if TYPE_CHECKING:
    from torch import Tensor

    from ft_lightning.data.damage import Inspector
    from ft_lightning.data.layout import Layout
    from ft_lightning.data.memo import Memo
    from ft_lightning.data.split import Splits
    from ft_lightning.deploy.predictor import TrainedModel
    from ft_lightning.features.extract import Computing
    from ft_lightning.readers.sample import Reader, Sample

log = logging.getLogger(__name__)


def evaluate(cfg: DictConfig, run_dir: Path) -> dict[str, Any]:
    """Score a model on labelled samples; classes are matched by name."""
    from dataclasses import replace

    from ft_lightning.cli import dataset, summary
    from ft_lightning.data import datasets, scan
    from ft_lightning.data.kinds import KINDS, table_of
    from ft_lightning.data.memo import open_memo
    from ft_lightning.deploy import beside_base, model_dir, speaking
    from ft_lightning.features.extract import Computing
    from ft_lightning.pages import run as run_page
    from ft_lightning.runs import write

    datasets.check_loader(cfg.batch_size, cfg.num_workers)
    memo = open_memo(cfg.cache.enabled, cfg.cache.dir, cfg.cache.verify)
    clock = write.Stopwatch()
    model = model_dir.load(cfg.model_dir)
    dataset.refuse_keys_of_others(KINDS[model.classifier.backbone.reader.kind], "data.")
    trained_by, run = Run.of_model(cfg.model_dir), Run(run_dir)
    listed = labelled_samples(cfg.data, model, trained_by, memo)
    reader = model.classifier.backbone.reader.adapted(cfg.data)
    samples, left_out, inspector = usable(listed, reader, memo, cfg.data, run)
    trained_on = trained_samples(samples, trained_by)
    clock.lap("setup_s")
    how = Computing.chosen(reader, cfg.device, cfg.precision, cfg.num_workers, show_progress=True)
    rows = outputs_of(cfg, model, samples, how, inspector)
    asked = beside_base.how_many(model.task, cfg.generate, cfg.max_new_tokens)
    backbone = model.on(cfg.device).backbone
    rows, task = beside_base.with_answers(backbone, reader, asked, samples, rows, show_progress=True)
    clock.lap("test_s")

    counts = {"samples": {"test": len(samples)}, "left_out": len(left_out), "trained_on": trained_on}
    location = str(table_of(cfg.data) or cfg.data.root or scan.base_of(samples))
    data = {"location": location, **task.facts(), **counts, **reader.facts(samples)}
    card = {key: model.card[key] for key in ("task", "backbone", "finetune", "sha256") if key in model.card}
    about = {"timing": clock.seconds, "data": data, "model": card}
    scored = write.write_evaluation(run, task, samples, rows, reader, about, left_out)
    speaking.write_words(run, lambda: model, samples, replace(how, num_workers=0, show_progress=False))
    summary.after_evaluate(run_dir, model.task, scored, run_page.write(run))
    return scored


def usable(
    samples: "list[Sample]", reader: "Reader", memo: "Memo | None", data: DictConfig, run: Run
) -> "tuple[list[Sample], list[tuple[Sample, str]], Inspector]":
    """Return the samples that can be used, those left out, with the reason, and the inspector that found them.

    Raises:
        DataProblemsError: some cannot be used, and are not to be left out, or are too many.
    """
    from ft_lightning.data import problems, split
    from ft_lightning.data.kinds import KINDS, skips

    kind = KINDS[reader.kind]
    splits = {name or "": those for name, those in split.by_split(samples).items()}
    inspector = kind.inspector(splits, memo, data)
    left_out: list[tuple[Sample, str]] = []
    if kind.hold(inspector, reader, skips(kind, data)):
        left_out = inspector.leave_out(data.max_bad_fraction, nothing_left, show_progress=True)
        samples = [sample for sample in samples if not inspector.problem(sample)]
    else:
        inspector.refuse_known(show_progress=True)
    problems.write_problems(inspector.left_out, run.record_path("problems"))
    return samples, left_out, inspector


def outputs_of(
    cfg: DictConfig, model: "TrainedModel", samples: "list[Sample]", how: "Computing", inspector: "Inspector"
) -> "Tensor":
    """Return the model's outputs (N, ...); DataProblemsError names every unusable sample.

    The features of a frozen, pretrained backbone come from the feature store.
    """
    import torch

    from ft_lightning.features.extract import open_store
    from ft_lightning.features.fill import fill

    if not (cfg.cache.enabled and model.is_frozen):
        rows, _ = model.rows(samples, how, cfg.batch_size, inspector.record_batch)
        inspector.flush()
        inspector.refuse()
        return rows
    classifier = model.classifier.to(how.device)
    store = open_store(cfg.cache.dir, classifier.backbone, how)
    features = fill(store, classifier.backbone, samples, how, inspector)
    with torch.inference_mode():
        batches = torch.arange(len(samples)).split(4096)
        return torch.cat([classifier.classify(features[at].to(how.device)).cpu() for at in batches])


def labelled_samples(data: DictConfig, model: "TrainedModel", trained_by: Run, memo: "Memo | None") -> "list[Sample]":
    """Return the samples to score.

    Args:
        trained_by: the model's run, which gives the splits where the data has none.
    """
    from dataclasses import replace

    from ft_lightning.cli import dataset
    from ft_lightning.data.kinds import KINDS, table_of
    from ft_lightning.data.scan import scan, without_special

    kind, table = KINDS[model.classifier.backbone.reader.kind], table_of(data)
    data = as_trained(data, model.layout, table, kind.name)
    root = data.root or (Run.folder_of(table) if table else None)
    labels = dataset.labels(data, type(model.task))
    if labels.columns is not None and not isinstance(labels.columns, str):
        labels = replace(labels, columns=model.task.ordered(labels.columns))
    samples = without_special(scan(dataset.source(data, kind), root, table, labels, memo, kind=kind.name))
    chosen = of_split(samples, data.split, trained_by)
    model.layout.refuse_others(chosen, "data.text")
    model.task.encode([sample.label for sample in chosen])  # raises for labels that the model does not know
    return chosen


def of_split(samples: "list[Sample]", asked: str | None, trained_by: Run) -> "list[Sample]":
    """Return the samples of the split that is asked for, by the data or else by a run; None: test, or else all."""
    from ft_lightning.data.scan import SPLITS

    if asked not in (None, "all", *SPLITS):
        raise UserError(f"data.split={asked} is unknown: use one of {', '.join(SPLITS)}, all.")
    given = {sample.split for sample in samples}
    split = asked or ("test" if "test" in given else "all")
    if given == {None} and split in SPLITS:
        samples = split_by(samples, trained_by)
    chosen = [sample for sample in samples if split in ("all", sample.split)]
    if not chosen:
        raise UserError(
            f"data.split={split}: the data has no such split, nor had these samples in the model's run; use "
            "data.split=all."
        )
    if len(chosen) < len(samples):
        log.warning(
            "data.split=%s: %d of %s scored.", split, len(chosen), number_of(len(samples), "sample is", "samples are")
        )
    return chosen


def as_trained(data: DictConfig, layout: "Layout", table: str | None, kind: str) -> DictConfig:
    """Return the keys of the data, in which null means what the model was trained with, where the table allows it."""
    from ft_lightning.system.tables import read_table

    own = bool(data.find._target_)  # whose table may be none that is read here, and whose columns are its own
    there = list(read_table(Path(str(table)).expanduser()).columns) if table and not own else []
    known = {"label_sep": layout.keys.get("label_sep", ";")} | (layout.within(there, kind) if there else {})
    found = OmegaConf.merge(data, {key: value for key, value in known.items() if key in data and data[key] is None})
    assert isinstance(found, DictConfig)
    return found


def split_by(samples: "list[Sample]", run: Run) -> "list[Sample]":
    """Return the samples with the splits they had in a run, by name and digest or else by digest; None for others."""
    from dataclasses import replace

    table = run.table("split", ["path", "split", "digest"], missing_ok=True)
    if table.empty:
        return samples
    rows = list(table[["path", "digest", "split"]].itertuples(index=False, name=None))
    by_digest = {digest: split for _, digest, split in rows if split}
    by_name = {(path, digest): split or None for path, digest, split in rows}  # without a split: it was left out
    return [replace(s, split=by_name.get((s.name, s.digest), by_digest.get(s.digest))) for s in samples]


def nothing_left(splits: "Splits") -> list[str]:
    """Return what to call the data if no split has a sample."""
    return [] if any(splits.values()) else ["the data"]


def trained_samples(samples: "list[Sample]", run: Run) -> int | None:
    """Count the samples that the run trained on, and warn if there are any; None if its split is unknown."""
    trained = run.trained_on()
    if trained is None:
        return None
    seen = sum(sample.digest in trained for sample in samples)
    if seen:
        log.warning(
            "%d of %s in this model's train split: the numbers will flatter it.",
            seen,
            number_of(len(samples), "sample was", "samples were"),
        )
    return seen


VERB = Verb("evaluate", evaluate, scores=True, libraries=("torchvision", "pandas"))

if __name__ == "__main__":
    command.run(VERB)
