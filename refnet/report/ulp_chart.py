"""Histogram of ULP errors: which part of a layer's numbers lies between two powers of two, a line for each variant."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence

from ..drift import Drift, VariantDrift
from ..drift.histogram import HIGHEST, LOWEST
from .chart import Spec, chart, decades, line_style, ran, switched_on, switches

HEIGHT = 280
EVERY = "every layer"
FRACTIONS = {-3: "⅛", -2: "¼", -1: "½"}
POWERS = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")
GAPS = "break-paths-filter-domains"  # where there are no such errors
TOOLTIP = [
    {"field": "variant", "type": "nominal"},
    {"field": "ulp", "type": "nominal", "title": "ULP"},
    {"field": "share", "type": "quantitative", "title": "part", "format": ".2~%"},
]
WRITTEN_OUT = 9  # powers of two up to here are as short as their exponent form


def ulp_chart(drift: Drift) -> Spec | None:
    """A layer is chosen from a list; None if nobody counted ULP errors."""
    rows = ran(drift)
    data = _shares(rows)
    if not data:
        return None
    lines = {
        "data": {"name": "shares"},
        "transform": [
            {"filter": "datum.layer == layer"},
            {"flatten": ["line"]},
            switched_on(rows),
            {"flatten": ["e", "share"]},
            *_words(rows),
        ],
        "encoding": {"x": _exponents(data), "y": _parts(data), **line_style(rows)},
        "layer": [
            {"mark": {"type": "line", "interpolate": "step", "strokeWidth": 1.7, "invalid": GAPS}},
            {"mark": {"type": "circle", "size": 50, "opacity": 1}, "encoding": {"tooltip": TOOLTIP}},
        ],
    }
    layer = {"name": "layer", "value": EVERY, "bind": {"input": "select", "options": [EVERY, *drift.layers]}}
    about = "Histogram of ULP errors, for each variant"
    return chart(about, HEIGHT, {"shares": data}, [lines], params=[layer, *switches(rows)])


def _words(rows: Sequence[VariantDrift]) -> list[Spec]:
    """The middle of a bar, and what is shown when it is pointed at."""
    names = json.dumps([row.variant for row in rows])
    return [
        {"calculate": "datum.e + 0.5", "as": "middle"},
        {"calculate": f"{names}[datum.line]", "as": "variant"},
        {"calculate": f"{EDGES}[datum.e + {-LOWEST}] + ' to ' + {EDGES}[datum.e + {1 - LOWEST}]", "as": "ulp"},
    ]


def _exponents(data: Sequence[Spec]) -> Spec:
    last = max(datum["e"][-1] for datum in data) + 1
    return {
        "field": "middle",
        "type": "quantitative",
        "scale": {"domain": [LOWEST, last], "nice": False},
        "axis": {
            "title": "ULP error",
            "values": list(range(LOWEST, last + 1)),
            "labelExpr": f"{EDGES}[datum.value + {-LOWEST}]",
            "labelOverlap": "greedy",
            "grid": False,
        },
    }


def _parts(data: Sequence[Spec]) -> Spec:
    ticks = decades(share for datum in data for share in datum["share"] if share)
    return {
        "field": "share",
        "type": "quantitative",
        "scale": {"type": "log", "domain": [ticks[0], 1], "nice": False},
        "axis": {"title": "part of the numbers", "values": ticks, "format": "~%", "titleAnchor": "end"},
    }


def edge(exponent: int) -> str:
    """A power of two as people read it; the lowest edge is 0, the highest infinity."""
    if exponent in (LOWEST, HIGHEST + 1):
        return "0" if exponent == LOWEST else "∞"
    if exponent in FRACTIONS:
        return FRACTIONS[exponent]
    return str(2**exponent) if exponent <= WRITTEN_OUT else "2" + str(exponent).translate(POWERS)


EDGES = json.dumps([edge(exponent) for exponent in range(LOWEST, HIGHEST + 2)], ensure_ascii=False)
"""The edges of all bars as an expression of Vega."""


def _all(histograms: Mapping[str, Mapping[int, int]]) -> tuple[str, Mapping[int, int]]:
    """The sum over all layers."""
    total: Counter[int] = Counter()
    for histogram in histograms.values():
        total.update(histogram)
    return EVERY, total


def _shares(rows: Sequence[VariantDrift]) -> list[Spec]:
    """For each layer each histogram once, with the lines that have it: many variants share bits."""
    lines: dict[tuple[str, tuple[tuple[int, int], ...]], list[int]] = {}
    for line, row in enumerate(rows):
        for layer, histogram in (_all(row.ulp_histograms), *row.ulp_histograms.items()):
            if histogram:
                lines.setdefault((layer, tuple(sorted(histogram.items()))), []).append(line)
    return [{"line": alike, "layer": layer, **_parts_of(dict(counts))} for (layer, counts), alike in lines.items()]


def _parts_of(histogram: Mapping[int, int]) -> Spec:
    """Each exponent between the first and the last with its part of all numbers; None where there are none."""
    total = sum(histogram.values())
    exponents = list(range(min(histogram), max(histogram) + 1))
    shares = [float(f"{histogram[e] / total:.2g}") if histogram.get(e) else None for e in exponents]
    return {"e": exponents, "share": shares}
