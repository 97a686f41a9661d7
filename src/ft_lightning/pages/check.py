"""Writes the files of a check: findings, the table of issues, previews, and the page made from them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from ft_lightning.issues.by_kind import SAMPLE_ISSUES
from ft_lightning.issues.by_task import label_issues
from ft_lightning.issues.findings import NONE, Findings, Issue, noun_of
from ft_lightning.issues.label_issues import LabelIssues
from ft_lightning.pages.figures import image_sizes
from ft_lightning.pages.lengths import sections_on_lengths
from ft_lightning.pages.page import Preview, Section, write_page
from ft_lightning.pages.previews import Previews
from ft_lightning.pages.scatter import histograms
from ft_lightning.runs.previews import write_previews
from ft_lightning.runs.run import Run
from ft_lightning.tasks.registry import DEFAULT

if TYPE_CHECKING:
    from ft_lightning.issues.look import Looked

_SHOWN = 24  # samples of a kind
_ROWS_SHOWN = 1000  # of a kind
_OF_A_GROUP = 6  # fill a row of the page
_ALIKE = "correlation"  # of near-duplicates in older checks
_SAMPLES = 120  # about 1 MB of the page
_GALLERIES = {
    "label": ("Labels", "Label → what it looks like; the most suspicious first."),
    "value": ("Values far from all others", "The farthest first."),
    "outlier": ("Outliers", "Unlike all others, the farthest first."),
    "high loss": ("Surprising answers", "Those that the model foresees worst, before any training."),
    "low loss": ("Answers known by heart", "Those that the model foresees best, before any training."),
}


def write_check(
    run: Run,
    looked: "Looked",
    found: Findings,
    pairs: Sequence[tuple[str, str, float]],
    location: str,
    facts: Mapping[str, Any],
) -> dict[str, Any]:
    """Write check.json, issues.csv, previews and report.html of a check; return the content of check.json.

    Args:
        pairs: near-duplicates: name, name of the other, likeness.
        location: folder or table of the dataset.
        facts: what a network's reader says of the samples.
    """
    kind = noun_of(looked.samples)
    of_kind = SAMPLE_ISSUES.get(kind, SAMPLE_ISSUES["image"])  # without a sample there is nothing to say
    chosen = _some_of_each(looked)
    by_name = {sample.name: sample for sample in looked.samples}
    shown = [name for names in chosen.values() for name in names]
    content = {
        "task": looked.kind.name,
        "location": location,
        "samples": len(looked.samples),
        "can_train": not found.blocking,
        "findings": [asdict(finding) for finding in found.findings],
        **label_issues(looked.kind.name).record(looked.task, looked.splits),
        **of_kind.record(looked.samples, looked.inspections, looked.kind),
        **facts,
        "alike": of_kind.ALIKE,
        "shown": chosen,
        "labels": {name: of_kind.label(by_name[name].label) for name in shown},
    }
    run.write("check", content)
    issues = pd.DataFrame(map(asdict, found.issues), columns=list(Issue.__dataclass_fields__))
    issues["label"] = issues["label"].map(of_kind.label)
    run.write("issues", issues)
    run.write("pairs", pd.DataFrame(pairs, columns=["path", "other", "correlation"]))
    shown += [name for one, other, _ in pairs[:_SHOWN] for name in (one, other)]
    for kind in _GALLERIES:
        shown += issues.loc[issues["kind"] == kind, "path"].head(_SHOWN).tolist()
    write_previews([by_name[name] for name in shown], run.previews, of_kind.preview)
    write(run)
    return content


def write(run: Run) -> Path:
    """Write report.html of a check from the other files of its directory; return its path."""
    content, issues = run.record("check"), run.table("issues")
    issues["score"] = pd.to_numeric(issues["score"])
    title = "This dataset can train" if content["can_train"] else "This dataset cannot train as it is"
    of_labels = label_issues(content.get("task", DEFAULT.name))
    sections = [*_findings(content, of_labels.NOUNS), *_pairs(run, content), *_galleries(run, issues)]
    sections += _samples(run, content, of_labels.NOUN)
    sections += [*_labels(content, of_labels), *_images(content, of_labels.NOUN), *sections_on_lengths(content)]
    sections += [_issues(issues, of_labels.SCORE, content)] if len(issues) else []
    write_page(run.page, title, f"{run.path.resolve().name} · {content['location']}", sections)
    return run.page


def _some_of_each(looked: "Looked") -> dict[str, list[str]]:
    """Choose samples of each group by their digests, which are as good as random but the same each time."""
    usable = [sample for sample in looked.samples if sample.digest in looked.inspections]
    groups = label_issues(looked.kind.name).grouped(sorted(usable, key=lambda sample: sample.digest))
    count = min(_OF_A_GROUP, max(1, _SAMPLES // max(1, len(groups))))
    return {title: [sample.name for sample in groups[title][:count]] for title in list(groups)[:_SAMPLES]}


def _samples(run: Run, content: dict[str, Any], noun: str) -> list[Section]:
    previews = Previews(run)
    labels = content.get("labels", {})
    images = [
        Preview(previews.of(name), [_under(title, labels.get(name, title)), name])
        for title, names in content.get("shown", {}).items()
        for name in names
    ]
    some = f"Some of each {noun}" if any(content.get("shown", {})) else "Some"
    return [Section("Samples", f"{some}, drawn at random.", images=images)] if images else []


def _under(title: str, label: str) -> str:
    """Caption a sample by its label and, if that is another text, by the title of its group."""
    return title if (label or NONE) == title else f"{title}: {label}".removeprefix(": ")


def _findings(content: dict[str, Any], nouns: str) -> list[Section]:
    names = {name for counts in content["classes"].values() for name in counts} - {NONE}
    facts = {"samples": f"{content['samples']:,}"} | ({nouns: f"{len(names):,}"} if names else {})
    rows = sorted(content["findings"], key=lambda finding: not finding["blocks"])
    found = pd.DataFrame(
        [(row["kind"], row["said"], row["fix"]) for row in rows], columns=["kind", "found", "what to do"]
    )
    blocking = sum(row["blocks"] for row in rows)
    text = f"{blocking} of these have to be mended first." if blocking else "" if rows else "Nothing was found."
    return [Section("Findings", text, facts, table=found if len(found) else None)]


def _pairs(run: Run, content: dict[str, Any]) -> list[Section]:
    table = run.table("pairs")
    if table.empty:
        return []
    previews = Previews(run)
    images = [
        Preview(previews.of(name), [f"{number}: {role}", name])
        for number, (path, other, alike) in enumerate(table.head(_SHOWN).to_numpy(), start=1)
        for role, name in (("to be left out", path), (f"{content.get('alike', _ALIKE)} {float(alike):.4f}", other))
    ]
    text = "Side by side: the copy to be left out, and the one to be tested on."
    return [Section("Near-duplicates", text, images=images)]


def _galleries(run: Run, issues: pd.DataFrame) -> list[Section]:
    previews = Previews(run)
    sections = []
    for kind, (title, text) in _GALLERIES.items():
        images = []
        for row in issues[issues["kind"] == kind].head(_SHOWN).to_dict("records"):
            path, label, suggestion = row["path"], row["label"], row["suggestion"]
            first = f"{label or NONE} → {suggestion}" if suggestion else label or NONE
            images.append(Preview(previews.of(path), [first, f"score {row['score']:.3f}", path]))
        sections += [Section(title, text, images=images)] if images else []
    return sections


def _issues(issues: pd.DataFrame, score: str, content: dict[str, Any]) -> Section:
    text = (
        "The rows of issues.csv. A run with data.exclude=<this file> leaves out every sample that is still in it. "
        f"Scores compare rows of one kind, the higher the worse: {score}; "
        "outlier, modified z-score of the distance to the ten nearest; near-duplicate, "
        f"{content.get('alike', _ALIKE)}; others 1."
    )
    shown = issues.groupby("kind", sort=False).head(_ROWS_SHOWN)
    if len(shown) < len(issues):
        text += f" Of each kind the first {_ROWS_SHOWN:,} are shown; the table has {len(issues):,} rows."
    return Section("Issues", text, table=shown)


def _labels(content: dict[str, Any], of_labels: LabelIssues) -> list[Section]:
    if targets := content.get("targets"):
        return [Section(of_labels.COUNTED, figures=[histograms(targets)])]
    if not content["classes"]:
        return []
    counts = pd.DataFrame(content["classes"]).fillna(0).astype(int)
    return [Section(of_labels.COUNTED, table=counts.rename_axis(of_labels.NOUN).reset_index())]


def _images(content: dict[str, Any], noun: str) -> list[Section]:
    if not content["sizes"]:
        return []
    modes = pd.DataFrame(content["modes"]).T.fillna(0).astype(int)
    table = modes.rename_axis(noun).reset_index()
    return [_sizes(content["sizes"]), Section("Colour modes", "As stored.", table=table)]


def _sizes(counts: dict[str, int]) -> Section:
    """Return the section on sizes; `counts` has images by width and height, such as {"640 x 480": 12}."""
    sizes = {(int(width), int(height)): n for size, n in counts.items() for width, height in [size.split(" x ")]}
    by_area = sorted(counts, key=lambda size: math.prod(map(int, size.split(" x "))))
    common = max(counts, key=lambda size: counts[size])
    facts = {"smallest": by_area[0], "largest": by_area[-1], "different": f"{len(sizes):,}"}
    facts |= {"most common": f"{common}, {counts[common]:,} images"} if counts[common] > 1 else {}
    return Section("Sizes", "Width x height in pixels.", facts, figures=[image_sizes(sizes)] if len(sizes) > 1 else [])
