"""The section on how long texts are, and how much of them is read."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ft_lightning.pages.figures import BLUE, GREY, ORANGE, logarithmic, plain
from ft_lightning.pages.page import Section

_WIDE = 10  # longest / shortest, from which an axis is logarithmic
_KEPT = {"head": "the beginning is", "head_tail": "the beginning and the end are", "windows": "all of it is"}


def sections_on_lengths(record: Mapping[str, Any]) -> list[Section]:
    """Build the section from the entry `tokens` or else `characters` of a record; none without one."""
    unit = "tokens" if record.get("tokens") else "characters"
    found = record.get(unit) or {}
    if not found.get("texts"):
        return []
    facts = {
        "median": f"{found['median']:,} {unit}",
        "longest": f"{found['longest']:,}",
        "texts": f"{found['texts']:,}",
    }
    if unit == "characters":
        return [Section("Lengths", "Of the texts, in characters.", facts, [_histogram(found, unit)])]
    limit, cut, unknown = found["max_length"], found["cut"], found["unknown"]
    if "learnt" in found:
        return [_of_conversations(found, limit, cut)]
    facts |= {"read at most": f"{limit:,}", "longer than that": f"{cut:.1%}", "unknown tokens": f"{unknown:.2%}"}
    text = f"{cut:.1%} of the texts are longer than the {limit:,} tokens that are read at a time"
    text += f"; of these {_KEPT.get(found['truncate'], found['truncate'])} read." if cut else "."
    return [Section("Lengths", text, facts, [_histogram(found, unit)])]


def _of_conversations(found: Mapping[str, Any], limit: int, cut: float) -> Section:
    facts = {
        "median": f"{found['median']:,} tokens",
        "longest": f"{found['longest']:,}",
        "conversations": f"{found['texts']:,}",
        "read at most": f"{limit:,}",
        "tokens that are learnt": f"{found['learnt']:,}",
    }
    text = "Of the conversations, with what the model's chat template writes around them. "
    if cut:
        facts["cut"] = f"{cut:.1%}"
        text += f"{cut:.1%} are longer than {limit:,} tokens: the beginning of their longest message was left out."
    return Section("Lengths", text.rstrip(), facts, [_histogram(found, "tokens", "conversations")])


def _histogram(found: Mapping[str, Any], unit: str, noun: str = "texts") -> Figure:
    """Plot how many texts are how long, and the length from which they are cut."""
    edges, counts = np.array(found["edges"]), np.array(found["counts"])
    figure = Figure(figsize=(6, 2.6), layout="constrained")
    axes = figure.subplots()
    axes.bar(edges[:-1], counts, np.diff(edges), align="edge", color=BLUE)
    if edges[-1] > _WIDE * edges[0] > 0:
        logarithmic(axes)
    if (limit := found.get("max_length")) and limit <= edges[-1]:
        axes.axvline(limit, color=ORANGE, lw=1.5)
        axes.annotate(f" {limit:,}", (limit, 1), xycoords=("data", "axes fraction"), va="top", color=GREY)
    plain(axes, unit, noun)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    return figure
