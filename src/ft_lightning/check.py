"""`python -m ft_lightning.check`: a look at a dataset before time is spent on it -> report.html, issues.csv.

python -m ft_lightning.check data.root=/my/images
python -m ft_lightning.train data.root=/my/images data.exclude=outputs/check/<run>/issues.csv
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from omegaconf import DictConfig

from ft_lightning.cli import command
from ft_lightning.cli.job import typed_overrides
from ft_lightning.runs.run import Run
from ft_lightning.system.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

    from ft_lightning.issues.findings import Found
    from ft_lightning.readers.sample import Inspection, Sample
    from ft_lightning.tasks.task import Task


_SHOWN = 5  # of what has to be mended, on the terminal


class Looked(NamedTuple):
    """What was looked at; without splits where the dataset cannot be split."""

    samples: "list[Sample]"
    splits: "dict[str, list[Sample]]"  # of what can be used
    inspections: "dict[str, Inspection]"  # by digest, of the images that can be used


def check(cfg: DictConfig, run_dir: Path) -> dict[str, Any]:
    """Say everything that is wrong with a dataset or odd about it, and how to mend it; nothing in it is changed."""
    from ft_lightning.build import data_location
    from ft_lightning.cli import summary
    from ft_lightning.cli.values import check_switches
    from ft_lightning.data.damage import check_policy
    from ft_lightning.issues.findings import Finding, Found
    from ft_lightning.pages import check as check_page
    from ft_lightning.system.console import short

    check_switches(cfg)
    check_policy(cfg.data.on_bad_image, cfg.data.max_bad_fraction)
    found = Found()
    root = data_location(cfg)
    looked = look_through(cfg, root, found)
    pairs: list[tuple[str, str, float]] = []
    closer = cfg.features and bool(looked.splits)
    try:
        if closer:
            pairs, closer = look_closer(cfg, looked, found), False
    finally:  # without weights, or with Ctrl-C, what the files tell is known all the same
        if closer:
            found.add([Finding("not looked for", "Wrong labels, outliers and near-duplicates: it ended before.", "")])
        written = check_page.write_check(Run(run_dir), looked, found, pairs, str(cfg.data.csv or root))
        summary.after_check(run_dir, found, overrides_of_train())
    if found.blocking:
        first = [f"{finding.said} {finding.fix}" for finding in found.blocking[:_SHOWN]]
        page, count = short(Run(run_dir).page), len(found.blocking)
        raise UserError("\n".join([f"This dataset cannot train as it is: {count} findings, all in {page}:", *first]))
    return written


def overrides_of_train() -> list[str]:
    """What of the command line a run on this dataset would be told too; "..." where there was no command line."""
    typed = typed_overrides()
    if typed is None:
        return ["..."]
    others = ("features=", "device=", "data.exclude=", "hydra.")
    return [word for word in typed if not word.lstrip("+~").startswith(others)]


def look_through(cfg: DictConfig, root: str | None, found: "Found") -> Looked:
    """What files, names and images tell without a network; all of it, where train ends with the first problem."""
    from ft_lightning.data.collect import narrow
    from ft_lightning.data.damage import Inspector
    from ft_lightning.data.exclude import excluded_names
    from ft_lightning.data.memo import open_memo
    from ft_lightning.data.scan import scan
    from ft_lightning.issues import findings
    from ft_lightning.issues.findings import Finding, Issue

    def refuse(message: str) -> None:
        found.add([Finding("layout", message, "", blocks=True)])

    data = cfg.data
    memo = open_memo(cfg.cache.enabled, cfg.cache.dir, cfg.cache.verify)
    try:
        scanned = scan(root, data.csv, data.case_sensitive, memo, refuse)
        samples, _ = narrow(scanned, data.group_by, data.limit, data.split_seed)
    except UserError as error:
        refuse(str(error))
        return Looked([], {}, {})
    task, splits = split(cfg, samples, refuse)
    excluded = excluded_names(data.exclude) if data.exclude else set()
    carried_over = [sample for sample in samples if sample.name in excluded]  # the newest table is all to exclude
    found.add([], [Issue(s.name, "excluded", 1.0, s.label, "by data.exclude") for s in carried_over])
    samples = [sample for sample in samples if sample.name not in excluded]
    inspector = Inspector({"": samples}, memo, data.max_pixels)
    inspector.decode_unknown(show_progress=True)
    problems = inspector.problems()
    skipped = data.on_bad_image == "skip" and len(problems) <= data.max_bad_fraction * len(samples)
    found.add(*findings.about_damage(problems, samples, skipped))
    sound = [sample for sample in samples if not inspector.problem(sample)]
    found.add(*findings.about_contradictions(sound, data.allow_leak))
    found.add(*findings.about_copies(sound))
    if task:
        splits = {part: [s for s in those if not inspector.problem(s)] for part, those in splits.items()}
        found.add(findings.about_lost(task, splits))
        found.add(findings.about_classes(splits))
    if root and not data.csv:
        found.add(findings.about_folder(Path(str(root)).expanduser(), scanned))
    found.add(findings.about_pictures(sound, inspector.found))
    return Looked(samples, splits, inspector.found)


def split(
    cfg: DictConfig, samples: "list[Sample]", refuse: "Callable[[str], None]"
) -> "tuple[Task | None, dict[str, list[Sample]]]":
    """The task, and train, val and test as a run would have them; neither where the dataset cannot be split."""
    from ft_lightning.build import build_task
    from ft_lightning.data.collect import divide

    data = cfg.data
    try:
        task, splits, _ = divide(
            samples, build_task(cfg), data.val_fraction, data.test_fraction, data.split_seed, data.exclude
        )
    except UserError as error:
        refuse(str(error))
        return None, {}
    return task, splits


def look_closer(cfg: DictConfig, looked: Looked, found: "Found") -> list[tuple[str, str, float]]:
    """What the features of the pictures tell; returns near-duplicates: name, name of the other, correlation."""
    import torch

    from ft_lightning.issues import suspects
    from ft_lightning.issues.findings import about_suspects
    from ft_lightning.readers.images import read_image
    from ft_lightning.system.console import working

    usable = {
        s.digest: (s, split)
        for split, samples in looked.splits.items()
        for s in samples
        if s.digest in looked.inspections
    }
    samples, where = [sample for sample, _ in usable.values()], [split for _, split in usable.values()]
    features = features_of(cfg, samples)
    classes = sorted({sample.label for sample in samples})
    targets = torch.tensor([classes.index(sample.label) for sample in samples])
    groups = [sample.group or sample.digest for sample in samples] if any(s.group for s in samples) else None
    with working("Looking for wrong labels"):
        wrong, estimated = suspects.label_errors(features, targets, groups, cfg.seed)
    with working("Looking for pictures unlike all others, and for near-duplicates"):
        far, scores = suspects.outliers(features)
        copies = suspects.near_duplicates(
            features, where, read=lambda at: read_image(samples[at].path, cfg.data.max_pixels)
        )
    pairs = [(samples[a], samples[b], value) for a, b, value in copies]
    labels = [(samples[i], classes[likely], score) for i, likely, score in wrong]
    found.add(*about_suspects(labels, estimated, [(samples[i], float(scores[i])) for i in far], pairs))
    return [(a.name, b.name, value) for a, b, value in pairs]


def features_of(cfg: DictConfig, samples: "list[Sample]") -> "Tensor":
    """(N, D), by way of the feature store, where train finds them again."""
    import torch

    from ft_lightning.build import build_pretrained
    from ft_lightning.features.extract import Computing, open_store
    from ft_lightning.features.fill import fill
    from ft_lightning.system.hardware import pick_device, pick_precision

    backbone = build_pretrained(cfg).backbone
    device = pick_device(cfg.device)
    precision = pick_precision(cfg.precision, device.type)
    reader = backbone.reader.limited(cfg.data.max_pixels)
    how = Computing(reader, device, precision, cfg.data.num_workers, show_progress=True)
    rows = fill(open_store(cfg.cache.dir, backbone, how, on_disk=cfg.cache.enabled), backbone, samples, how)
    return rows[torch.arange(len(rows))].float()


if __name__ == "__main__":
    command.run("check", check)
