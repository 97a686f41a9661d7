"""Writes a self-contained HTML page: sections of facts, figures, sortable tables, images and texts; it loads nothing
from elsewhere, and no name or text in it can become markup or code."""

import base64
import hashlib
import io
import math
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from ft_lightning.pages.previews import drawn
from ft_lightning.runs.previews import Snippet
from ft_lightning.system.errors import decimals
from ft_lightning.system.files import replacing

_TEMPLATE = "page.html.jinja"
_BLACK = re.compile(r"(fill|stroke): #000000")  # becomes the page's text colour


@dataclass(frozen=True, slots=True)
class Preview:
    """What is shown of a sample, and its caption, the most important line first."""

    shown: Path | Snippet | None  # a JPEG, or the beginning of a text; None if it cannot be shown any more
    lines: Sequence[str]


@dataclass(frozen=True, slots=True)
class Section:
    """The content under one heading; empty parts are left out."""

    title: str
    text: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)
    figures: Sequence[Figure] = ()
    table: pd.DataFrame | None = None  # sortable by each of its columns
    images: Sequence[Preview] = ()  # of samples: images or texts
    code: str = ""  # may be markup


def write_page(path: Path, title: str, subtitle: str, sections: Sequence[Section]) -> None:
    """Write a page that needs no other file and no network."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"svg": _svg, "cells": _cells, "drawn": drawn, "script_hash": _script_hash}
    html = environment.get_template(_TEMPLATE).render(title=title, subtitle=subtitle, sections=sections)
    with replacing(path) as temporary:
        temporary.write_text(html, encoding="utf-8", errors="backslashreplace")


def number(value: Any) -> str:
    """Format a number for people; empty for one that is missing."""
    if value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, float):
        return f"{value:,.1f}" if 10 <= abs(value) < 1e9 else decimals(value)
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def rounded(value: float) -> str:
    """Format a number by three digits, or without decimals where it is large."""
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def with_interval(metrics: Mapping[str, Any], name: str) -> str:
    """Format a metric for people, with its 95 % interval if it has one."""
    bounds = metrics.get(f"{name}_ci95")
    return number(metrics.get(name)) + (f" ({number(bounds[0])} to {number(bounds[1])})" if bounds else "")


def _cells(table: pd.DataFrame) -> list[list[dict[str, Any]]]:
    """Return rows of cells: the text, and in a numeric column the number to sort by."""
    columns = []
    for name in table.columns:
        numeric = pd.api.types.is_numeric_dtype(table[name]) and not pd.api.types.is_bool_dtype(table[name])
        cells = []
        for value in table[name].tolist():
            text = value if isinstance(value, Markup) else number(value)  # markup is made by pages alone
            cells.append({"text": text, "key": (repr(value) if text else "") if numeric else None})
        columns.append(cells)
    return [list(row) for row in zip(*columns, strict=True)]


def _svg(figure: Figure, salt: str) -> Markup:
    """Render a figure as SVG that scales with the page and takes its text colour.

    Each figure of a page needs its own salt, so that the ids of its marks are unique.
    """
    file = io.StringIO()
    for background in (figure.patch, *(axes.patch for axes in figure.axes)):
        background.set_visible(False)
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": salt}), warnings.catch_warnings():
        # Text stays text, and the browser has the fonts.
        warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)
        FigureCanvasSVG(figure).print_svg(file, metadata={"Date": None})  # `savefig` would draw it twice
    drawing = file.getvalue()
    drawing = drawing[drawing.index("<svg") :]
    drawing = re.sub(r"<metadata>.*?</metadata>", "", drawing, flags=re.S)
    drawing = re.sub(r'<g id="[^"]*"', "<g", drawing)
    width = float(re.search(r'width="([\d.]+)pt"', drawing)[1])  # type: ignore[index]
    drawing = re.sub(r' (width|height)="[\d.]+pt"', "", drawing, count=2)
    drawing = drawing.replace("<svg", f'<svg style="width: {width * 4 / 3:.0f}px; max-width: 100%"', 1)
    return Markup(_BLACK.sub(r"\1: currentColor", drawing))


def _script_hash(script: str) -> str:
    """Return the hash by which a Content-Security-Policy allows this one script."""
    return f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}"
