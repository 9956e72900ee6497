"""The drift as one HTML file to read: it works offline and is not allowed to ask any other place for anything."""

from __future__ import annotations

import hashlib
import json
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import __version__
from ..atomic import replacing
from ..drift import Drift
from ..drift.storage import plain
from .best_classes import best_classes
from .chart import Spec, ran, strokes
from .depth_chart import depth_chart
from .explained import CAPTION, explained, orders_grid, otherwise_grid, shares_grid, why
from .grids import definitions_grid, indexed, layers_grid, logits_grid
from .heat_chart import heat_chart, heat_legend
from .library import library
from .summary import description, facts
from .theme import DARK, LIGHT, css
from .tolerances import layers_table, logits_line, tolerances
from .ulp_chart import ulp_chart
from .words import LOOKS, by_verdict, label, look_of, overall, sentence

PAGE = Path(__file__).with_name("page")


@dataclass(frozen=True)
class About:
    """name: its place on the page.  caption: how to read it.  legend: CSS variables of colours, and what they mean."""

    name: str
    title: str
    caption: str
    draw: Callable[[Drift], Spec | None]
    legend: tuple[tuple[str, str], ...] = ()


FIGURES = (
    About(
        "depth",
        "Drift by depth",
        "Relative L2 error of each layer against the truth, with all that the layers before it did. The grey band is "
        "what refnet's own float32 orders span, end to end: lines inside it are what rounding explains.",
        depth_chart,
    ),
    About(
        "local",
        "What each layer added",
        "What each layer added by itself: its output against the exact result on its own inputs, as a part of the "
        "layer's RMS. A dot marks what is not rounding.",
        heat_chart,
        heat_legend(),
    ),
    About(
        "ulp",
        "ULP errors",
        "Which part of the numbers is how far from the truth, in units in the last place of the variant's format. "
        "Up to ½ is correctly rounded.",
        ulp_chart,
    ),
)


@dataclass(frozen=True)
class Figure:
    """A figure that can be drawn of this drift: its specification in Vega-Lite."""

    about: About
    specification: Spec


def write_html(drift: Drift, path: Path) -> None:
    """Write the page at `path`, whole or not at all. Raises InputError for a place that cannot be written."""
    text = html(drift)
    with replacing(path) as draft:
        draft.write_text(text, encoding="utf-8")


def html(drift: Drift) -> str:
    """The whole page, with the charts' library, styles and data inside; it depends on the drift alone."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined  # slow to import

    environment = Environment(
        loader=FileSystemLoader(PAGE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}  # NaN is no JSON
    scripts = (library(), (PAGE / "page.js").read_text(encoding="utf-8"))
    return environment.get_template("page.html").render(
        truth=description(drift),
        version=__version__,
        overall=overall(drift),
        facts=facts(drift),
        judgements=[(row, look_of(row), label(row), sentence(row)) for row in by_verdict(drift.variants)],
        looks=LOOKS.values(),
        figures=_figures(drift),
        why=[(row, why(row, explanation)) for row, explanation in explained(drift)],
        shares=(CAPTION, orders_grid(drift), otherwise_grid(drift), shares_grid(drift)),
        best=best_classes(drift),
        grids=[logits_grid(drift), definitions_grid()],
        layers=(grid := layers_grid(drift)),
        rows=indexed(grid),
        tolerances=[(of, logits_line(of), layers_table(of)) for of in tolerances(drift)],
        provenance=_pretty(drift.provenance),
        variants={row.variant: _pretty(row.provenance) for row in drift.variants if row.provenance},
        strokes=strokes(ran(drift)),
        light=css(LIGHT),
        dark=css(DARK),
        style=(PAGE / "page.css").read_text(encoding="utf-8"),
        scripts=scripts,
        policy=_policy(scripts),
    )


def _figures(drift: Drift) -> list[Figure]:
    """Those for which there are numbers."""
    drawn = ((about, about.draw(drift)) for about in FIGURES if drift.layers)
    return [Figure(about, chart) for about, chart in drawn if chart is not None]


def _policy(scripts: tuple[str, ...]) -> str:
    """A Content-Security-Policy: these scripts and no others, the page's own styles, and no connections."""
    hashes = " ".join(f"'sha256-{b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" for text in scripts)
    return f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


def _pretty(document: Any) -> str:
    return json.dumps(plain(document), indent=1, ensure_ascii=False)
