"""`python -m ft_lightning.evaluate`: model directory + labelled data -> metrics.json, predictions.csv.

python -m ft_lightning.evaluate model_dir=outputs/train/<run> data.root=/my/labelled/images
"""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from ft_lightning.cli import command
from ft_lightning.data.problems import DataProblemsError
from ft_lightning.system.errors import UserError, some

if TYPE_CHECKING:
    from torch import Tensor

    from ft_lightning.data.damage import ImageCheck
    from ft_lightning.data.datasets import PathsDataset
    from ft_lightning.data.memo import Memo
    from ft_lightning.deploy.predictor import TrainedModel
    from ft_lightning.readers.sample import Sample

log = logging.getLogger(__name__)


def evaluate(cfg: DictConfig, run_dir: Path) -> dict[str, Any]:
    """Score a model on labelled images; classes are matched by name."""
    from ft_lightning.cli import summary
    from ft_lightning.cli.values import check_switches
    from ft_lightning.data.damage import ImageCheck
    from ft_lightning.data.datasets import check_loader
    from ft_lightning.data.memo import open_memo
    from ft_lightning.deploy import model_dir
    from ft_lightning.pages.run import write_run_page
    from ft_lightning.runs import write

    check_switches(cfg)
    check_loader(cfg.batch_size, cfg.num_workers)
    memo = open_memo(cfg.cache.enabled, cfg.cache.dir, cfg.cache.verify)
    clock = write.Stopwatch()
    model = model_dir.load(cfg.model_dir)
    samples = labelled_samples(cfg.data, model, memo)
    check = ImageCheck(memo, cfg.data.max_pixels)
    check.begin(samples, decode=False, show_progress=True)
    refuse_problems(check, samples)
    trained_on = trained_samples(samples, Path(str(cfg.model_dir)).expanduser())
    clock.lap("setup_s")
    logits = (stored_logits if cfg.cache.enabled and model.is_frozen else live_logits)(cfg, model, samples, check)
    clock.lap("test_s")

    data = {"location": str(cfg.data.csv or cfg.data.root), "samples": {"test": len(samples)}, "trained_on": trained_on}
    about = {"timing": clock.seconds, "data": data}
    scored = write.write_evaluation(run_dir, model, samples, logits, cfg.data.max_pixels, about)
    summary.after_evaluate(run_dir, scored, write_run_page(run_dir))
    return scored


def refuse_problems(check: "ImageCheck", samples: "list[Sample]") -> None:
    """Raise DataProblemsError with all samples that are known to be unusable, if there are any."""
    splits: dict[str, list[Sample]] = {}
    for sample in samples:
        splits.setdefault(sample.split or "", []).append(sample)
    if problems := check.problems(splits):
        said = f"{len(problems)} of {len(samples)} images cannot be used:"
        raise DataProblemsError(problems, said, "Mend or remove them.")


def live_logits(cfg: DictConfig, model: "TrainedModel", samples: "list[Sample]", check: "ImageCheck") -> "Tensor":
    """Logits (N, C) by the whole network.

    Raises:
        DataProblemsError: names every image that cannot be used.
    """

    def learn(batch: dict[str, Any]) -> None:
        check.learn_batch([samples[i] for i in batch["index"]], batch)

    dataset = pictures(cfg, model, samples)
    logits, _ = model.logits(dataset, cfg.batch_size, cfg.num_workers, cfg.device, cfg.precision, learn)
    check.flush()
    refuse_problems(check, samples)
    return logits


def stored_logits(cfg: DictConfig, model: "TrainedModel", samples: "list[Sample]", check: "ImageCheck") -> "Tensor":
    """Logits (N, C) by the head on the features that a pretrained, frozen backbone has in the feature store.

    Raises:
        DataProblemsError: names every image that cannot be used.
    """
    import torch

    from ft_lightning.cli import summary
    from ft_lightning.features.extract import Extractor, open_store
    from ft_lightning.system.hardware import pick_device, pick_precision

    device = pick_device(cfg.device)
    precision = pick_precision(cfg.precision, device.type)
    store = open_store(cfg.cache.dir, model.classifier.backbone, precision, device.type)
    extractor = Extractor(model.classifier, store, device, precision, cfg.num_workers, show_progress=True)
    distinct = list({sample.digest: sample for sample in samples}.values())
    digests = [sample.digest for sample in distinct]
    missing = store.locate(digests).missing
    summary.features(store, len(digests) - len(missing), len(missing), live={})

    def learn(at: list[int], batch: dict[str, Any]) -> None:
        check.learn_batch([distinct[i] for i in at], batch)

    later = {digests[i] for i in missing}
    check.look([sample for sample in check.unknown(samples) if sample.digest not in later], show_progress=True)
    extractor.complete(digests, lambda at: pictures(cfg, model, [distinct[i] for i in at]), observe=learn)
    check.flush()
    refuse_problems(check, samples)
    rows = store.locate([sample.digest for sample in samples]).settled()
    model.classifier.to(device)
    parts = [model.classify(rows[at]) for at in torch.arange(len(samples)).split(4096)]
    return torch.cat(parts)


def pictures(cfg: DictConfig, model: "TrainedModel", samples: "list[Sample]") -> "PathsDataset":
    """What is read of the samples, as the model's weights expect it."""
    from ft_lightning.data.datasets import PathsDataset

    paths, digests = [sample.path for sample in samples], [sample.digest for sample in samples]
    return PathsDataset(paths, model.classifier.backbone.preprocess, cfg.data.max_pixels, digests)


def labelled_samples(data: DictConfig, model: "TrainedModel", memo: "Memo | None" = None) -> "list[Sample]":
    """The samples to score.

    Raises:
        UserError: no data is named, the split is empty, or a label is no class of the model.
    """
    from ft_lightning.data.scan import SPLITS, scan

    samples = scan(data.root, data.csv, data.case_sensitive, memo)
    if data.split not in (None, "all", *SPLITS):
        raise UserError(f"data.split={data.split} is unknown: use one of {', '.join(SPLITS)}, all.")
    given = {sample.split for sample in samples}
    split = data.split or ("test" if "test" in given else "all")
    chosen = [sample for sample in samples if split in ("all", sample.split)]
    if not chosen:
        raise UserError(f"data.split={split}: the data has no such split; use data.split=all.")
    if unknown := sorted({sample.label for sample in chosen} - set(model.class_names)):
        raise UserError(
            f"{len(unknown)} labels are no classes of this model: {some(unknown)}. It knows {some(model.class_names)}."
        )
    return chosen


def trained_samples(samples: "list[Sample]", model_dir: Path) -> int | None:
    """How many of these pictures the model was trained on, as the numbers would flatter it; None where nobody knows."""
    from ft_lightning.system.tables import read_table

    is_model = (model_dir / "model.json").is_file()
    split_csv = (model_dir.parent if is_model else model_dir) / "split.csv"
    if not split_csv.is_file():
        return None
    table = read_table(split_csv)
    trained = set(table.loc[(table["split"] == "train") & (table["excluded"] == ""), "digest"])
    seen = sum(sample.digest in trained for sample in samples)
    if seen:
        log.warning(
            "%d of %d samples were in this model's train split: the numbers will flatter it.", seen, len(samples)
        )
    return seen


if __name__ == "__main__":
    command.run("evaluate", evaluate)
