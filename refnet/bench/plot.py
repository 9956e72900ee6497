"""One picture: error against time, a point for each arithmetic, the Pareto front marked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import cycle
from math import nan
from pathlib import Path
from typing import TYPE_CHECKING

from ..atomic import replacing
from ..drift.storage import plain
from .arithmetics import BASE
from .pareto import Point, front
from .rows import Bench, relative_times

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

MARKERS = "os^vDPX<>h*p8H"
PEER_MARKERS = "x+1234|_"


def points(bench: Bench) -> dict[str, Point]:
    """Arithmetic -> (time over that of BASE, relative L2 error of its logits); without an error none."""
    times = relative_times(bench.rows)
    return {
        row.subject: (times[row.subject], row.error)
        for row in bench.of_kind("arithmetic")
        if row.error and row.subject in times
    }


def peer_points(bench: Bench) -> dict[str, Point]:
    """The same for the peers, with one picture a call."""
    rows = [row for row in bench.of_kind("keras", "compiled") if row.batch == 1]
    return {row.other: (1 / row.ratio, row.other_error) for row in rows if row.other_error}


def plot(bench: Bench, path: Path) -> None:
    """Write a PNG with the provenance in its description. Raises InputError for a place that cannot be written."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # slow to import, and without any global state
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 8), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot(
        xscale="log",
        yscale="log",
        xlabel=f"time of one picture / that of {BASE}",
        ylabel="relative L2 error of the logits",
    )
    found = points(bench)
    legend = [*_draw_arithmetics(axes, found), *_draw_peers(axes, peer_points(bench)), *_draw_front(axes, found)]
    if legend:
        axes.legend(
            handles=legend, loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, fontsize=9, markerscale=0.8
        )
    base = next((row.value for row in bench.of_kind("arithmetic") if row.subject == BASE), nan)
    threads = bench.provenance.get("threads")
    axes.set_title(
        f"Error against time: {BASE} {base * 1000:.1f} ms, {threads} threads, errors from {bench.truth}", fontsize=11
    )
    for labels in (axes.xaxis.set_major_formatter, axes.xaxis.set_minor_formatter):
        labels(lambda value, position: f"{value:g}" if f"{value:e}"[0] in "125" else "")
    axes.grid(alpha=0.25)
    with replacing(path) as draft:
        figure.savefig(draft, format="png", dpi=130, metadata={"Description": json.dumps(plain(bench.provenance))})


def _draw_arithmetics(axes: Axes, found: Mapping[str, Point]) -> list[Line2D]:
    """Colours are formats, markers are orders; the legend has a line for each of both."""
    formats = list(dict.fromkeys(name.partition(" ")[0] for name in found))
    orders = list(dict.fromkeys(name.partition(" ")[2] for name in found))
    colours = {name: f"C{place}" for place, name in enumerate(formats)}
    markers = dict(zip(orders, cycle(MARKERS), strict=False))
    for name, point in found.items():
        format_, _, order = name.partition(" ")
        axes.plot(*point, markers[order], color=colours[format_], markersize=7, alpha=0.8)
    samples = [axes.plot([], [], "o", color=colours[name], label=name)[0] for name in formats]
    return samples + [axes.plot([], [], markers[name], color="grey", label=name)[0] for name in orders]


def _draw_peers(axes: Axes, found: Mapping[str, Point]) -> list[Line2D]:
    """The backends in black, a marker for each."""
    markers = zip(found.items(), cycle(PEER_MARKERS), strict=False)
    return [
        axes.plot(*point, marker, color="black", markersize=10, linestyle="none", label=name)[0]
        for (name, point), marker in markers
    ]


def _draw_front(axes: Axes, found: Mapping[str, Point]) -> list[Line2D]:
    """A numbered ring around each arithmetic that no other beats; the legend has the names."""
    samples = []
    names = front(found)
    axes.plot([found[name][0] for name in names], [found[name][1] for name in names], "-", color="black", alpha=0.3)
    for number, name in enumerate(names, start=1):
        title = f"Pareto {number}: {name}"
        samples += axes.plot(*found[name], "o", markersize=13, mfc="none", mec="black", linestyle="none", label=title)
        place = (0, 9 if number % 2 else -17)  # neighbours above and below
        axes.annotate(str(number), found[name], place, textcoords="offset points", ha="center", fontsize=9)
    return samples
