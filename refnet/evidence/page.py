"""The evidence as a page: a row for each variant, with how often its verdict was the expected one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from ..report.markdown import pipe_table
from ..report.summary import short
from .cell import Cell

BEGIN, END = "<!-- {} -->", "<!-- end of {} -->"
"""A table stands between these lines of a page, which is otherwise written by hand."""

TITLES = ("variant", "expected", "as expected", "verdicts", "largest margin", "logits, relative L2", "seconds")


def summary(cells: Sequence[Cell]) -> str:
    """One sentence: how many verdicts there are, and how many are false."""
    ran = [cell for cell in cells if cell.status == "ok"]
    verdicts, wrong = sum(len(cell.pictures) for cell in ran), sum(len(cell.wrong) for cell in ran)
    views = {row.picture for cell in ran for row in cell.pictures}
    sets = len({cell.weights for cell in ran})
    return (
        f"{verdicts} verdicts: {len({cell.variant for cell in ran})} variants on {len(views)} pictures and "
        f"{sets} set{'s' * (sets != 1)} of weights. {wrong} are not as expected."
    )


def page(cells: Sequence[Cell]) -> str:
    """Markdown: the summary, the table, what was not as expected, what did not run."""
    names = list(dict.fromkeys(cell.variant for cell in cells))
    by_name = {name: [cell for cell in cells if cell.variant == name and cell.status == "ok"] for name in names}
    rows = [_row(name, found) for name, found in by_name.items() if found]
    wrong = [
        f"- **{cell.variant}**, {cell.weights}, {row.picture}: {row.verdict}, expected {cell.expected}; {row.reason}"
        for cell in cells
        for row in cell.wrong
    ]
    missed = {f"- **{cell.variant}** ({cell.status}): {cell.reason}" for cell in cells if cell.status != "ok"}
    sections = [[summary(cells)], [pipe_table(TITLES, rows)] if rows else []]
    for title, lines in (("Not as expected:", wrong), ("Did not run:", sorted(missed))):
        sections.append([title, "\n".join(lines)] if lines else [])
    return "\n\n".join(part for section in sections for part in section) + "\n"


def within(text: str, table: str, name: str = "evidence") -> str:
    """`text` with the table of that name in its place: between BEGIN and END, or at the end where these are not."""
    opening, closing = BEGIN.format(name), END.format(name)
    start, begin, rest = text.partition(opening)
    _, end, after = rest.partition(closing)
    if not begin or not end:
        start, after = text.rstrip("\n") + "\n\n", "\n"
    return f"{start}{opening}\n\n{table}\n{closing}{after}"


def _row(name: str, cells: Sequence[Cell]) -> list[str]:
    rows = [row for cell in cells for row in cell.pictures]
    good = len(rows) - sum(len(cell.wrong) for cell in cells)
    verdicts = Counter(row.verdict for row in rows)
    errors = sorted(row.error for row in rows)
    return [
        name,
        " / ".join(dict.fromkeys(cell.expected for cell in cells)),
        f"{good} of {len(rows)}",
        ", ".join(f"{count} {verdict}" for verdict, count in verdicts.most_common()),
        short(_largest(row.margin for row in rows)),
        f"{short(errors[0])} to {short(errors[-1])}",
        f"{sum(cell.seconds for cell in cells):.0f}",
    ]


def _largest(numbers: Iterable[float]) -> float:
    """NaN, which says nothing, is left out."""
    return max((number for number in numbers if number == number), default=float("nan"))
