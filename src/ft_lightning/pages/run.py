"""Writes report.html of a run or an evaluation, from the files of its directory alone."""

import logging
import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from ft_lightning.data.scan import SPLITS
from ft_lightning.pages import instruct, multiclass, multilabel, regression
from ft_lightning.pages.lengths import sections_on_lengths
from ft_lightning.pages.page import Section, number, with_interval, write_page
from ft_lightning.runs.baselines import better_baseline
from ft_lightning.runs.run import Run
from ft_lightning.system.console import short
from ft_lightning.system.errors import UserError, number_of
from ft_lightning.tasks.registry import entry_for, shown_of, task_class

log = logging.getLogger(__name__)
MakeSections = Callable[[Run, dict[str, Any]], list[Section]]

_ROWS_SHOWN = 1000


# The parts of a page that depend on the task. A task of your own adds a module with the same four functions, unless it
# is a subclass of one that is here.
_TASK_PAGES = {"multiclass": multiclass, "multilabel": multilabel, "regression": regression, "instruct": instruct}


def figures(run: Run) -> dict[str, Figure]:
    """Draw the figures of a finished run's page; return them by the title of their section."""
    drawn: dict[str, Figure] = {}
    metrics = run.record("metrics")
    for section in (section for of in SECTIONS for section in of(run, metrics)):
        for i, figure in enumerate(section.figures, start=1):
            drawn[section.title if i == 1 else f"{section.title} {i}"] = figure
    return drawn


def write(run: Run) -> Path:
    """Write report.html of a finished run of `train` or `evaluate`; return its path."""
    metrics = run.record("metrics")
    title = _task_page(run).title(metrics)
    sections = [section for of in SECTIONS for section in _made(of, run, metrics)]
    write_page(run.page, title, f"{run.path.resolve().name} · {metrics['data']['location']}", sections)
    return run.page


def _task_page(run: Run) -> ModuleType:
    """Return the module with the sections of the run's task."""
    page = entry_for(_TASK_PAGES, run.task)
    if page is None:
        raise UserError(f"{run}: there is no page for the task {run.task}: add its module to pages/run.py.")
    return page


def _made(of: MakeSections, run: Run, metrics: dict[str, Any]) -> list[Section]:
    """Return these sections; a fault in one of them costs neither the page nor the end of a training."""
    try:
        return list(of(run, metrics))
    except UserError:
        raise
    except Exception:
        log.exception("%s: the sections of %s are left out, because of an error in it:", short(run.page), of.__name__)
        return [Section("Left out", f"{of.__name__} ended with an error, which stands in the run's output.")]


def _headline(run: Run, metrics: dict[str, Any]) -> list[Section]:
    section = _task_page(run).headline(metrics)
    return [replace(section, text=f"{section.text} {better_baseline(run)}".rstrip(), facts=_result(run, metrics))]


def _result(run: Run, metrics: dict[str, Any]) -> dict[str, str]:
    """Return each metric and baseline on test, with its interval, and the task's metric on val."""
    task, test = task_class(run.task), metrics["test"]
    facts = {}
    for name, title in shown_of(task, test).items():
        if name not in test:
            continue
        facts[title] = with_interval(test, name)
        if name.startswith("knn_") and test[name] is None:
            facts[title] = "features not stored"
    if "val" in metrics:
        facts[f"{task.headline[task.monitor]} on val"] = number(metrics["val"].get(task.monitor))
    return facts


def _of_task(run: Run, metrics: dict[str, Any]) -> list[Section]:
    return _task_page(run).sections(run, metrics)


def _heads(_: Run, metrics: dict[str, Any]) -> list[Section]:
    if not (heads := metrics.get("heads")):
        return []
    monitor, taken = heads["monitor"], heads["taken"]
    rows = [
        {"head": name, monitor: found[monitor], "val/loss": found["val/loss"], "taken": "yes" if name == taken else ""}
        for name, found in heads["tried"].items()
    ]
    text = f"The {taken} head was taken by val, on which the linear one was at its optimum. Test took no part."
    return [Section("Head", text, table=pd.DataFrame(rows))]


def _repeats(_: Run, metrics: dict[str, Any]) -> list[Section]:
    if not (repeats := metrics.get("repeats")):
        return []
    rows = [
        {"split": split, "metric": name, "mean": found["mean"], "standard deviation": found["sd"]}
        | dict(zip(("low", "high"), found["ci95"] or (None, None), strict=True))
        for split in ("val", "test")
        for name, found in repeats[split].items()
    ]
    text = f"The head trained {len(repeats['seeds'])} times on the same split, with another start and order each time."
    return [Section("Repeats", text, table=pd.DataFrame(rows))]


def _folds(run: Run, metrics: dict[str, Any]) -> list[Section]:
    if not (folds := metrics.get("folds")):
        return []
    pooled, sizes = folds["pooled"], folds["samples"]
    table = pd.DataFrame({"fold": [*map(str, range(1, len(sizes) + 1)), "mean", "standard deviation"]})
    table["samples"] = pd.array([*sizes, None, None], dtype="Int64")
    facts = {}
    for name, title in task_class(run.task).columns.items():
        if found := folds["test"].get(name):
            table[title] = pd.array([*found["values"], found["mean"], found["sd"]], dtype="Float64").astype(float)
        facts[f"{title}, all folds"] = with_interval(pooled, name)
    text = (
        f"All {pooled['n']:,} samples were tested once, each by one of {len(sizes)} heads that did not train on it. "
        "They measure what such a training reaches on these data; this run's model is none of them. The intervals are "
        "those of all answers together."
    )
    return [Section("Folds", text, facts, table=table)]


def _data(run: Run, _: dict[str, Any]) -> list[Section]:
    split = run.table("split", missing_ok=True)
    if split.empty:
        return []
    used = split[split["excluded"] == ""]
    counts = _task_page(run).counts(used)
    counts = counts[[name for name in SPLITS if name in counts]]
    facts = {name: f"{(used['split'] == name).sum():,}" for name in counts.columns}
    text = f"Samples by {counts.index.name}."
    sections = [Section("Data", text, facts, table=counts.rename_axis(columns=None).reset_index())]
    left_out = split.loc[split["excluded"] != "", ["path", "class", "excluded"]]
    if len(left_out):
        sections.append(
            Section(
                "Left out",
                f"{number_of(len(left_out), 'sample was', 'samples were')} left out.",
                table=left_out.head(_ROWS_SHOWN),
            )
        )
    return sections


def _lengths(_: Run, metrics: dict[str, Any]) -> list[Section]:
    return sections_on_lengths(metrics["data"])


def _provenance(run: Run, metrics: dict[str, Any]) -> list[Section]:
    config, command = run.config_text(), shlex.join(run.command)
    versions = {name: str(version) for name, version in metrics["versions"].items()}
    trained = _trained(run.record("model") if run.record_path("model").is_file() else metrics.get("model", {}))
    return [
        *([Section("What was trained", facts=trained)] if trained else []),
        Section("Time", facts=_time(metrics)),
        *([Section("Command", code=command)] if command else []),
        Section("Config and versions", facts=versions, code=config),
    ]


def _trained(card: dict[str, Any]) -> dict[str, str]:
    facts = {}
    if backbone := card.get("backbone"):
        facts = {"backbone": f"{backbone['name']} ({backbone['source']})", "weights": str(backbone["weights"])}
    if finetune := card.get("finetune"):
        facts["trained"] = _what_trained(finetune, has_head=card.get("head", {}).get("name") != "none")
    if (head := card.get("head")) and head.get("name") != "none":
        facts["head"] = ", ".join(str(value) if key == "name" else f"{key} {value}" for key, value in head.items())
    if sha256 := card.get("sha256"):
        facts["weights of the model"] = f"sha256 {sha256[:16]}…"
    return facts


def _what_trained(finetune: dict[str, Any], has_head: bool) -> str:
    if finetune["mode"] == "frozen":
        return "the head"
    if finetune["mode"] == "lora":
        rank, alpha, targets, layers = (finetune[key] for key in ("rank", "alpha", "targets", "layers"))
        named = targets if isinstance(targets, str) else ", ".join(targets)
        return f"lora: adapters of rank {rank} (alpha {alpha}) beside {layers} layers ({named})" + (
            ", and the head" if has_head else ""
        )
    return f"{finetune['mode']}: {', '.join(finetune['trained_blocks'])}"


def _time(metrics: dict[str, Any]) -> dict[str, str]:
    timing = metrics["timing"]
    facts = {
        name.removesuffix("_s"): f"{value:.1f} s"
        for name, value in timing.items()
        if name.endswith("_s") and name != "images_per_s"
    }
    if cache := timing.get("cache"):
        stored = f"{cache['hits']:,} from the store, {cache['computed']:,} computed"
        facts["features"] = ", ".join(filter(None, [facts.get("features"), stored]))
    return facts


# The page, from top to bottom: each function makes sections of a run and its metrics.json.
SECTIONS: list[MakeSections] = [_headline, _heads, _repeats, _folds, _of_task, _data, _lengths, _provenance]
