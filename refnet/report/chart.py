"""What the charts of the page share: the frame, the lines' colours, switches, the stages of the network, decades."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ..drift import OWN, Drift, VariantDrift
from .summary import stages
from .theme import DASHES, SERIES

Spec = dict[str, Any]
"""A Vega-Lite specification, or a part of one (https://vega.github.io/vega-lite/docs/)."""

FONT = "system-ui, sans-serif"
CONFIG: Spec = {
    "background": "transparent",
    "font": FONT,
    "view": {"stroke": None},
    "axis": {
        "domain": False,
        "gridColor": "var(--rule)",
        "tickColor": "var(--rule)",
        "labelColor": "var(--soft)",
        "labelFontSize": 12,
        "titleColor": "var(--soft)",
        "titleFontSize": 12,
        "titleFontWeight": "normal",
    },
    "text": {"color": "var(--soft)", "fontSize": 12},
    "aria": False,
    "mark": {"aria": False},
}


def chart(description: str, height: int, data: dict[str, list[Spec]], layers: Sequence[Spec], **more: Any) -> Spec:
    """A chart as wide as the page lets it be. description: for those who do not see it.  data: the named tables."""
    return {
        "$schema": "https://vega.github.io/schema/vega-lite/v6.json",
        "description": description,
        "width": "container",
        "height": height,
        "autosize": {"type": "fit-x", "contains": "padding"},
        "padding": {"left": 0, "right": 4, "top": 4, "bottom": 0},
        "config": CONFIG,
        "datasets": data,
        "layer": list(layers),
        **more,
    }


def ran(drift: Drift) -> list[VariantDrift]:
    return [row for row in drift.variants if row.ran]


def switches(rows: Sequence[VariantDrift]) -> list[Spec]:
    """A checkbox for each line, which is also its legend."""
    return [
        {"name": f"show_{place}", "value": True, "bind": {"input": "checkbox", "name": row.variant}}
        for place, row in enumerate(rows)
    ]


def switched_on(rows: Sequence[VariantDrift]) -> Spec:
    """Keeps what belongs to a line whose checkbox is set; `line` is its place."""
    return {"filter": f"[{', '.join(f'show_{place}' for place in range(len(rows)))}][datum.line]"}


@dataclass(frozen=True)
class Stroke:
    """How a line is drawn: a colour of the theme, a dash as a CSS border style and as lengths of strokes and gaps."""

    name: str
    border: str
    dash: list[int]

    @property
    def colour(self) -> str:
        """As CSS has it."""
        return f"var(--{self.name})"


def strokes(rows: Sequence[VariantDrift]) -> list[Stroke]:
    """For each line; refnet's own in ink, and the others in the colours of the theme, then again in the next dash."""
    found, turns = [], itertools.count()
    for row in rows:
        if row.variant == OWN:
            found.append(Stroke("ink", "solid", []))
            continue
        turn, colour = divmod(next(turns), len(SERIES))
        found.append(Stroke(SERIES[colour], *DASHES[turn % len(DASHES)]))
    return found


def line_style(rows: Sequence[VariantDrift]) -> Spec:
    """Encodings of a line by its place."""

    def by_line(values: list[Any]) -> Spec:
        scale = {"domain": list(range(len(rows))), "range": values}
        return {"field": "line", "type": "nominal", "scale": scale, "legend": None}

    drawn = strokes(rows)
    return {
        "color": by_line([stroke.colour for stroke in drawn]),
        "strokeDash": by_line([stroke.dash for stroke in drawn]),
    }


def place_axis(drift: Drift, **more: Any) -> Spec:
    """x: the place of a layer in the network; the stages stand below it."""
    scale = {"domain": [-0.5, len(drift.layers) - 0.5], "nice": False}
    return {"field": "place", "type": "quantitative", "scale": scale, "axis": None, **more}


def stage_data(drift: Drift) -> list[Spec]:
    """Where each stage lies, and its name where there is room for one."""
    return [
        {
            "first": first - 0.5,
            "last": last + 0.5,
            "middle": (first + last) / 2,
            "odd": place % 2,
            "stage": stage if last - first >= 8 else "",
        }
        for place, (stage, (first, last)) in enumerate(stages(drift).items())
    ]


def stage_names(drift: Drift) -> Spec:
    """The stages' names below a chart, from the data `stages`."""
    return {
        "data": {"name": "stages"},
        "mark": {"type": "text", "baseline": "top", "dy": 8},
        "encoding": {"x": place_axis(drift, field="middle"), "y": {"value": "height"}, "text": {"field": "stage"}},
    }


def rounded(value: float) -> float:
    """Three significant digits: more are not seen, and make the page larger."""
    return float(f"{value:.3g}")


def decades(values: Iterable[float]) -> list[float]:
    """Powers of ten that enclose the positive finite numbers; 1e-8 .. 1 if there are none."""
    logs = [math.log10(value) for value in values if value > 0 and math.isfinite(value)]
    first, last = (math.floor(min(logs)), math.ceil(max(logs))) if logs else (-8, 0)
    return [10.0**power for power in range(first, max(last, first + 1) + 1)]
