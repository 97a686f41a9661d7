"""Prints the summary before training and the results of each command."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ft_lightning.cli.ending import predict_line
from ft_lightning.issues.findings import Finding, Findings
from ft_lightning.runs.baselines import better_baseline
from ft_lightning.runs.run import Run
from ft_lightning.system.commands import command_line
from ft_lightning.system.console import console, interval, number, pairs, short, table
from ft_lightning.system.errors import number_of, printable
from ft_lightning.system.one_row import aloud
from ft_lightning.tasks.registry import shown_of

if TYPE_CHECKING:
    import pandas as pd
    from lightning import Trainer

    from ft_lightning.data.protocol import Data
    from ft_lightning.finetune import FreezePlan
    from ft_lightning.lora import Adapters
    from ft_lightning.model import Classifier
    from ft_lightning.tasks.task import Task


_NOUNS = {"text": "texts", "prompt": "questions"}  # columns of answers -> what was answered
_PHASES = ("features", "heads", "probe", "base", "training", "answers", "repeats", "folds")  # of a training
_LONGEST = 48  # letters of a text on the terminal, so that an answer is one line of 80


def before(run_dir: Path, data: "Data", classifier: "Classifier", trainer: "Trainer", start: Path | None) -> None:
    """Print the data, the model, the device, the run directory and the checkpoint of a training about to start."""
    identity = classifier.backbone.identity
    parameters = list(classifier.parameters())
    total = sum(p.numel() for p in parameters)
    trainable = sum(p.numel() for p in parameters if p.requires_grad)
    devices = f"{trainer.world_size} x " if trainer.world_size > 1 else ""
    pairs(
        data=str(data.location),
        samples=" · ".join(f"{split} {len(samples):,}" for split, samples in data.splits.items()),
        **data.task.describe(),
        backbone=f"{identity.name} ({identity.source}), weights {identity.weights}",
        cut=_cut(classifier.plan, classifier.adapters, any(True for _ in classifier.head.parameters())),
        trainable=f"{trainable:,} of {total:,} parameters ({trainable / total:.2%})",
        device=f"{devices}{trainer.strategy.root_device.type}, precision {trainer.precision}",
        run=str(short(run_dir)) + (f", goes on from {start.name}" if start else ""),
    )


def after(run_dir: Path, task: "Task", metrics: dict[str, Any], page: Path) -> None:
    """Print the metrics of a training, its time, and where its files are."""
    base = {"base, test": metrics["test"]["base"]} if "base" in metrics["test"] else {}
    _print_metrics(task, {**base, "val": metrics["val"], "test": metrics["test"]})
    timing = metrics["timing"]
    if better := better_baseline(Run(run_dir)):
        pairs(baseline=better)
    if repeats := metrics.get("repeats"):
        pairs(repeats=_spread(task, repeats["test"]))
    if folds := metrics.get("folds"):
        pooled = folds["pooled"]
        value, around = number(pooled.get(task.monitor)), interval(pooled.get(f"{task.monitor}_ci95"))
        together = f"; all {pooled['n']:,} samples {value}" + (f", 95 % {around}" if around else "")
        pairs(folds=_spread(task, folds["test"]) + (together if task.monitor in pooled else ""))
    seconds = timing | {"training_s": timing["fit_s"]}
    spent = [f"{name} {seconds[f'{name}_s']:.1f}" for name in _PHASES if f"{name}_s" in seconds]
    time = f"{timing['total_s']:.0f} s: {', '.join(spent)}"
    pairs(time=time, model=str(short(Run(run_dir).model)), page=str(short(page)))
    console.print(predict_line(Run(run_dir)) + "\n", soft_wrap=True)


def after_evaluate(run_dir: Path, task: "Task", metrics: dict[str, Any], page: Path) -> None:
    """Print the metrics of an evaluation, and where the details are."""
    _print_metrics(task, {"test": metrics["test"]})
    pairs(samples=f"{metrics['test']['n']:,}", details=str(short(run_dir)), page=str(short(page)))


def glance(findings: Sequence[Finding]) -> None:
    """Print the findings about a dataset before training; nothing if there are none."""
    if findings:
        told = "\n".join(f"{finding.said} {finding.fix}".strip() for finding in findings)
        with aloud(told):
            pairs(check=told)


def after_check(run_dir: Path, found: Findings, overrides: Sequence[str]) -> None:
    """Print the findings, the rows of issues.csv by kind, and the train command that excludes those rows."""
    for finding in sorted(found.findings, key=lambda finding: not finding.blocks):
        pairs(**{finding.kind: f"{finding.said} {finding.fix}".strip()})
    counts = Counter(issue.kind for issue in found.issues)
    issues = ", ".join(f"{kind} {count:,}" for kind, count in counts.items())
    run = Run(run_dir)
    pairs(
        findings=f"{len(found.findings)}, of which {len(found.blocking)} have to be mended first",
        issues=f"{short(run.table_path('issues'))} ({issues or 'none'})",
        page=str(short(run.page)),
    )
    if found.issues:
        command = command_line("train", overrides, **{"data.exclude": short(run.table_path("issues"))})
        console.print(f"Remove the rows of issues.csv that are fine, then: {command}\n", soft_wrap=True)


def after_predict(task: "Task", answers: "pd.DataFrame", output: Path) -> None:
    """Print the number of files or texts, a tally of the answers, and where the table is."""
    errors = answers[answers["error"] != ""]
    noun = next((noun for column, noun in _NOUNS.items() if column in answers), "files")
    pairs(
        **{noun: f"{len(answers):,}"},
        **task.tally(answers),
        unreadable=f"{len(errors):,}" + (f", for example {errors.iloc[0]['path']}" if len(errors) else ""),
        table=str(short(output)),
    )


def answers(found: "pd.DataFrame") -> None:
    """Print the answers to texts that were typed; the table has the probabilities of all names too."""
    names = [str(name) for name in found if not str(name).startswith(("path", "p(", "p_", "class_"))]
    rows = found[names].astype(object).where(found[names].notna(), "").itertuples(index=False, name=None)
    table(names, [[_clipped(printable(number(value))) for value in row] for row in rows])
    console.print()


def _clipped(said: str) -> str:
    return said if len(said) <= _LONGEST else f"{said[: _LONGEST - 1]}…"


def _print_metrics(task: "Task", splits: dict[str, dict[str, Any]]) -> None:
    """Print one row a metric, one column a split, and the interval of the last split."""
    last = list(splits.values())[-1]
    rows = [
        (title, *(number(metrics.get(name)) for metrics in splits.values()),
         interval(last.get(f"{name}_ci95")))
        for name, title in shown_of(task, last).items()
        if any(name in metrics for metrics in splits.values())
    ]  # fmt: skip
    table(["", *splits, f"95 % interval of {list(splits)[-1]}"], rows)


def _spread(task: "Task", found: dict[str, dict[str, Any]]) -> str:
    """Say how the task's metric on test varies among several trainings."""
    values, mean, sd = (found[task.monitor][name] for name in ("values", "mean", "sd"))
    return f"{len(values)}: test {task.headline[task.monitor]} {number(mean)}, standard deviation {number(sd)}"


def _cut(plan: "FreezePlan", adapters: "Adapters | None", has_head: bool) -> str:
    if adapters:
        layers = number_of(len(adapters.named()), "linear layer")
        trains = "and the head train" if has_head else "train"
        return f"lora: adapters of rank {adapters.rank} beside {layers} {trains}, the backbone is frozen"
    if plan.mode == "frozen":
        return "frozen: after the last block, only the head trains"
    if plan.mode == "full":
        return "full: everything trains"
    several = len(plan.trained_blocks)
    last = f"the last {several} blocks" if several > 1 else "the last block"
    return f"partial: before {plan.trained_blocks[0]}, {last} and the head train"
