"""Drift by depth: the propagated error of every layer, a line for each variant, before what rounding explains."""

from __future__ import annotations

import math

from ..drift import Drift
from .chart import (
    Spec,
    chart,
    decades,
    line_style,
    place_axis,
    ran,
    rounded,
    stage_data,
    stage_names,
    switched_on,
    switches,
)
from .summary import rounding_band, short

HEIGHT = 340


def depth_chart(drift: Drift) -> Spec:
    """Relative L2 error by depth on a log scale; layers without any error have no place there and are gaps."""
    rows = ran(drift)
    band = rounding_band(drift)
    errors = [(line, [numbers["rel_l2"] for numbers in row.layers.values()]) for line, row in enumerate(rows)]
    ticks = decades([error for _, line in errors for error in line] + [edge for datum in band for edge in datum[1:]])
    y: Spec = {
        "type": "quantitative",
        "scale": {"type": "log", "domain": [ticks[0], ticks[-1]], "nice": False},
        "axis": {"title": "relative L2 error", "values": ticks, "format": "~e", "titleAnchor": "end"},
    }
    data: dict[str, list[Spec]] = {
        "lines": [
            {
                "line": line,
                "place": list(range(len(line_errors))),
                "error": [rounded(error) if 0 < error < math.inf else None for error in line_errors],
            }
            for line, line_errors in errors
        ],
        "band": [{"place": place, "low": low, "high": high} for place, low, high in band],
        "stages": stage_data(drift),
        "layers": _at_each_layer(drift),
    }
    layers = [_shades(drift), _band(drift, y), _lines(drift, y), _hover(drift), stage_names(drift)]
    about = "Relative L2 error of each layer by depth, for each variant"
    return chart(about, HEIGHT, data, layers, params=switches(rows))


def _band(drift: Drift, y: Spec) -> Spec:
    return {
        "data": {"name": "band"},
        "mark": {"type": "area", "color": "var(--band)", "opacity": 0.38},
        "encoding": {"x": place_axis(drift), "y": {"field": "low", **y}, "y2": {"field": "high"}},
    }


def _lines(drift: Drift, y: Spec) -> Spec:
    return {
        "data": {"name": "lines"},
        "transform": [switched_on(ran(drift)), {"flatten": ["place", "error"]}],
        "mark": {"type": "line", "strokeWidth": 1.7, "strokeJoin": "round", "invalid": "break-paths-filter-domains"},
        "encoding": {"x": place_axis(drift), "y": {"field": "error", **y}, **line_style(ran(drift))},
    }


def _at_each_layer(drift: Drift) -> list[Spec]:
    """What is shown over a layer: its name and the error of each variant, as text."""
    band = {place: f"{short(low)} to {short(high)}" for place, low, high in rounding_band(drift)}
    return [
        {"from": place - 0.5, "to": place + 0.5, "layer": layer, "rounding": band.get(place, "-")}
        | {f"line_{line}": short(row.layers[layer]["rel_l2"]) for line, row in enumerate(ran(drift))}
        for place, layer in enumerate(drift.layers)
    ]


def _hover(drift: Drift) -> Spec:
    """The column of the layer under the pointer, with a table of all its errors."""
    texts = [("layer", "layer"), ("rounding", "rounding explains")]
    texts += [(f"line_{line}", row.variant) for line, row in enumerate(ran(drift))]
    return {
        "data": {"name": "layers"},
        "params": [{"name": "pointed", "select": {"type": "point", "on": "pointerover", "clear": "pointerout"}}],
        "mark": {"type": "rect", "color": "var(--ink)"},
        "encoding": {
            "x": place_axis(drift, field="from"),
            "x2": {"field": "to"},
            "opacity": {"condition": {"param": "pointed", "empty": False, "value": 0.25}, "value": 0},
            "tooltip": [{"field": field, "title": title, "type": "nominal"} for field, title in texts],
        },
    }


def _shades(drift: Drift) -> Spec:
    """Every other stage a little darker."""
    return {
        "data": {"name": "stages"},
        "transform": [{"filter": "datum.odd == 1"}],
        "mark": {"type": "rect", "color": "var(--raised)"},
        "encoding": {"x": place_axis(drift, field="first"), "x2": {"field": "last"}},
    }
