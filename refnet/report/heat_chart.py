"""The local error as a heat map: what each layer of each variant added by itself."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence

from ..drift import Drift, VariantDrift, Verdict
from .chart import Spec, chart, place_axis, ran, rounded, stage_data, stage_names
from .summary import short
from .words import label_of

LIMITS = (1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2)
"""Where one colour ends and the next begins, as a part of the layer's RMS: up to 1e-6 is float32's own size."""

ROW = 22  # pixels for each variant
COLUMNS = ("place", "kind", "error", "local error", "simulated orders", "propagated")
TOOLTIP = [{"field": text, "type": "nominal"} for text in ("variant", "layer", "verdict", *COLUMNS[3:])]


def heat_legend() -> tuple[tuple[str, str], ...]:
    """CSS variable and text of each colour, from exact to the largest."""
    edges = [f"{limit:.0e}".replace("e-0", "e-") for limit in LIMITS]
    texts = [f"below {edges[0]}", *(f"to {edge}" for edge in edges[1:]), "larger"]
    return ("exact", "exact"), *((f"heat{place}", text) for place, text in enumerate(texts))


def heat_chart(drift: Drift) -> Spec | None:
    """Cells by layer and variant, with a dot where the verdict is no rounding; None without local errors."""
    verdicts = {label_of(verdict): verdict for row in ran(drift) for verdict in _verdicts(row)}
    labels = list(verdicts)
    lines = [_line(row, labels) for row in ran(drift)]
    if not any(line["place"] for line in lines):
        return None
    marked = [verdict is not None and not verdict.fine for verdict in verdicts.values()]
    cells: list[Spec] = [
        {"flatten": list(COLUMNS)},
        {"calculate": "datum.place - 0.5", "as": "from"},
        {"calculate": "datum.place + 0.5", "as": "to"},
        {"calculate": f"{json.dumps(drift.layers)}[datum.place]", "as": "layer"},
        {"calculate": f"{json.dumps(labels)}[datum.kind]", "as": "verdict"},
    ]
    dots = [*cells, {"filter": f"{json.dumps(marked)}[datum.kind]"}]
    names = [row.variant for row in ran(drift)]
    y: Spec = {
        "field": "variant",
        "type": "nominal",
        "scale": {"domain": names, "paddingInner": 0.08},
        "axis": {"title": None, "ticks": False, "labelColor": "var(--ink)", "labelLimit": 130},
    }
    data = {"lines": lines, "stages": stage_data(drift)}
    layers = [_cells(drift, y, cells), _dots(drift, y, dots), stage_names(drift)]
    about = "Local error of each layer of each variant, as a part of the layer's RMS"
    return chart(about, ROW * len(names), data, layers)


def _cells(drift: Drift, y: Spec, transform: list[Spec]) -> Spec:
    colours = {
        "type": "threshold",
        "domain": list(LIMITS),
        "range": [f"var(--heat{place})" for place in range(len(LIMITS) + 1)],
    }
    return {
        "data": {"name": "lines"},
        "transform": transform,
        "mark": {"type": "rect", "strokeWidth": 0},
        "encoding": {
            "x": place_axis(drift, field="from"),
            "x2": {"field": "to"},
            "y": y,
            "color": {
                "condition": {"test": "datum.error == 0", "value": "var(--exact)"},
                "field": "error",
                "type": "quantitative",
                "scale": colours,
                "legend": None,
            },
            "tooltip": TOOLTIP,
        },
    }


def _dots(drift: Drift, y: Spec, transform: list[Spec]) -> Spec:
    """In the colour of the page with a rim of ink, so that they are seen on every cell."""
    return {
        "data": {"name": "lines"},
        "transform": transform,
        "mark": {
            "type": "point",
            "filled": True,
            "size": 9,
            "opacity": 1,
            "color": "var(--paper)",
            "stroke": "var(--ink)",
            "strokeWidth": 0.5,
        },
        "encoding": {"x": place_axis(drift), "y": y, "tooltip": TOOLTIP},
    }


def _line(row: VariantDrift, labels: Sequence[str]) -> Spec:
    """One variant: COLUMNS, each a list over the layers with a local error. kind: place of the verdict in `labels`."""
    cells = [
        _cell(place, labels.index(label_of(verdict)), numbers)
        for place, (verdict, numbers) in enumerate(zip(_verdicts(row), row.layers.values(), strict=True))
        if not math.isnan(numbers["local_rms"])
    ]
    return {"variant": row.variant} | {name: [cell[column] for cell in cells] for column, name in enumerate(COLUMNS)}


def _verdicts(row: VariantDrift) -> list[Verdict | None]:
    return [row.verdicts.get(layer) for layer in row.layers]


def _cell(place: int, kind: int, numbers: Mapping[str, float]) -> tuple[object, ...]:
    """In the order of COLUMNS."""
    error = rounded(min(numbers["local_rms"], 1e300))
    simulated = f"{short(numbers['simulated_low'])} to {short(numbers['simulated_high'])}"
    return place, kind, error, short(numbers["local_rms"]), simulated, short(numbers["rel_l2"])
