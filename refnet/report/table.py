"""The drift on a terminal: a summary of the variants, the drift at the end of each stage, and what went wrong."""

from __future__ import annotations

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ..drift import Drift
from .summary import CAPTION, STATUS_STYLES, SUMMARY, headline, proven_digits_of, short, stage_ends, with_reasons

NAMES = ("variant", "status", "worst layer", "")


def tables(drift: Drift) -> Group:
    """What `refnet drift` prints; give it to a rich Console."""
    parts: list[RenderableType] = [
        Text(headline(drift), style="bold"),
        summary_table(drift),
        Text(CAPTION, style="dim"),
    ]
    if drift.layers:
        parts += [Text(), Text("Relative L2 error of a layer, by depth", style="bold"), depth_table(drift)]
    reasons = [
        Text.assemble((f"{row.variant}: ", "bold"), f"{row.status}, {' '.join(row.reason.split())}")
        for row in with_reasons(drift)
    ]
    return Group(*parts, *([Text()] if reasons else []), *reasons)


def summary_table(drift: Drift) -> Table:
    table = table_of("variant", "status", *(column.title for column in SUMMARY))
    for row in drift.variants:
        cells = [column.text(row) for column in SUMMARY] if row.ran else []
        table.add_row(row.variant, Text(row.status, style=STATUS_STYLES[row.status]), *cells)
    return table


def depth_table(drift: Drift) -> Table:
    ends = stage_ends(drift.layers)
    table = table_of("variant", *ends)
    for row in drift.variants:
        if row.ran:
            table.add_row(row.variant, *(short(row.layers[layer]["rel_l2"]) for layer in ends.values()))
    if proven := proven_digits_of(drift, ends.values()):
        table.add_row(*proven, style="dim")
    return table


def table_of(*titles: str) -> Table:
    """Names to the left, numbers to the right, headings in two lines: usual reports fit into 80 columns."""
    table = Table(box=box.SIMPLE_HEAD, padding=0, show_edge=False, header_style="bold")
    for title in titles:
        left = title in NAMES
        heading = title if left else title.replace(" ", "\n")
        table.add_column(heading, justify="left" if left else "right", overflow="fold", vertical="bottom")
    return table
