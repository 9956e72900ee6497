"""The drift on a terminal: the verdict on each variant, in a table and in words, the drift by depth, and tolerances."""

from __future__ import annotations

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ..drift import Drift, VariantDrift
from .explained import explained, why
from .summary import CAPTION, STATUS_STYLES, SUMMARY, headline, proven_digits_of, short, stage_ends
from .tolerances import Tolerances, logits_line, tolerances
from .words import by_verdict, label, look_of, sentence

NAMES = ("variant", "verdict", "layer", "first layer", "")


def tables(drift: Drift) -> Group:
    """What `refnet drift` prints; give it to a rich Console."""
    parts: list[RenderableType] = [
        Text(headline(drift), style="bold"),
        summary_table(drift),
        Text(CAPTION, style="dim"),
        Text(),
        *map(reason_line, by_verdict(drift.variants)),
    ]
    if known := explained(drift):
        parts += [Text(), Text("Where the drift comes from", style="bold")]
        parts += [Text.assemble((row.variant, "bold"), f" {why(row, explanation)}") for row, explanation in known]
    if drift.layers:
        parts += [Text(), Text("Relative L2 error of a layer, by depth", style="bold"), depth_table(drift)]
    if found := tolerances(drift):
        parts += [
            Text(),
            Text("Least tolerances that rounding justifies", style="bold"),
            *(Text(_tolerances(of, len(found))) for of in found),
        ]
    return Group(*parts)


def summary_table(drift: Drift) -> Table:
    table = table_of("variant", "verdict", *(column.title for column in SUMMARY))
    for row in drift.variants:
        cells = [column.text(row) for column in SUMMARY] if row.ran else []
        add_row(table, row.variant, Text(label(row), style=style_of(row)), *cells)
    return table


def reason_line(row: VariantDrift) -> Text:
    """The variant and its verdict in words."""
    return Text.assemble((row.variant, f"bold {style_of(row)}"), f" {sentence(row)}")


def style_of(row: VariantDrift) -> str:
    return look_of(row).style if row.ran else STATUS_STYLES[row.status]


def _tolerances(of: Tolerances, groups: int) -> str:
    return logits_line(of) + (f"  # {', '.join(of.variants)}" if groups > 1 else "")


def depth_table(drift: Drift) -> Table:
    ends = stage_ends(drift.layers)
    table = table_of("variant", *ends)
    for row in drift.variants:
        if row.ran:
            add_row(table, row.variant, *(short(row.layers[layer]["rel_l2"]) for layer in ends.values()))
    if proven := proven_digits_of(drift, ends.values()):
        add_row(table, *proven, style="dim")
    return table


def table_of(*titles: str) -> Table:
    """Names to the left, numbers to the right, headings in two lines: usual reports fit into 80 columns."""
    table = Table(box=box.SIMPLE_HEAD, padding=0, show_edge=False, header_style="bold")
    for title in titles:
        left = title in NAMES
        heading = title if left else title.replace(" ", "\n")
        table.add_column(heading, justify="left" if left else "right", overflow="fold", vertical="bottom")
    return table


def add_row(table: Table, *cells: str | Text, style: str = "") -> None:
    """Names and paths stand as they are: to a rich Table `[a]` in a string would be markup."""
    table.add_row(*(Text(cell) if isinstance(cell, str) else cell for cell in cells), style=style)
