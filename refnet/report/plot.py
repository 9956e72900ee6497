"""One picture: relative L2 error by depth, a line for each variant, before the band that rounding explains."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from ..atomic import replacing
from ..drift import OWN, Drift
from ..drift.storage import plain
from .chart import ran, strokes
from .summary import headline, rounding_band, stages
from .theme import LIGHT

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NAMES = 24  # in one column of the legend
STYLES = ("-", "--", "-.", ":")  # lines that lie on each other stay visible


def plot(drift: Drift, path: Path) -> None:
    """Write a PNG with the provenance in its description. Layers without error have no place on a log scale: gaps.

    Raises InputError for a place that cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # slow to import, and without any global state
    from matplotlib.figure import Figure

    rows = ran(drift)
    columns = 1 + len(rows) // NAMES
    figure = Figure(figsize=(8.5 + 2.5 * columns, 6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot(yscale="log", ylabel="relative L2 error, ||y - t|| / ||t||")
    for place, (row, stroke) in enumerate(zip(rows, strokes(rows), strict=True)):
        errors = [row.layers[layer]["rel_l2"] or float("nan") for layer in drift.layers]
        width = 2.4 if row.variant == OWN else 1.4
        style = STYLES[place % len(STYLES)]
        axes.plot(errors, style, label=row.variant, alpha=0.85, color=LIGHT[stroke.name], linewidth=width)
    _shade_band(axes, drift)
    _mark_stages(axes, drift)
    axes.set_title(f"Drift by depth\n{headline(drift)}", fontsize=11)
    axes.grid(axis="y", alpha=0.3)
    if axes.lines:
        figure.legend(loc="outside right upper", ncols=columns, frameon=False)
    about = json.dumps(plain(drift.provenance))
    with replacing(path) as draft:
        figure.savefig(draft, dpi=130, metadata={"Description": about})


def _shade_band(axes: Axes, drift: Drift) -> None:
    """What rounding explains, where it is known."""
    if band := rounding_band(drift):
        places, lows, highs = zip(*band, strict=True)
        axes.fill_between(places, lows, highs, color="0.5", alpha=0.3, linewidth=0, label="rounding explains")


def _mark_stages(axes: Axes, drift: Drift) -> None:
    """Name each stage in its middle and shade every other one; stages too short for a name go without."""
    named = {}
    for place, (stage, (first, last)) in enumerate(stages(drift).items()):
        if place % 2:
            axes.axvspan(first - 0.5, last + 0.5, color="black", alpha=0.05, linewidth=0)
        named[stage] = (first + last) / 2
    shown = {stage: middle for stage, middle in named.items() if stage not in ("pool1", "avg")}
    axes.set_xticks(list(shown.values()), list(shown))
