"""The drift as a page for a pull request: verdicts first, tolerances to paste; what is long is folded away."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from ..drift import Drift
from ..drift.storage import plain
from .explained import CAPTION as OF_SHARES
from .explained import explained, orders_grid, otherwise_grid, why
from .grids import DEFINITIONS, Grid
from .summary import CAPTION, SUMMARY, description, headline, proven_digits_of, short, stage_ends
from .tolerances import layers_table, logits_line, tolerances
from .words import Group, by_verdict, label, overall, sentence


def markdown(drift: Drift, picture: str | None = None) -> str:
    """The whole page; `picture` is the file name of the plot beside it."""
    sections = [
        ["# Drift", "\n".join(f"- {group.look.sign} **{group.heading}:** {_names(group)}" for group in overall(drift))],
        [_cell(headline(drift)), _summary(drift), CAPTION],
        ["## Verdicts", "\n".join(f"- **{row.variant}** {_cell(sentence(row))}" for row in by_verdict(drift.variants))],
        _explained(drift),
        _tolerances(drift),
        _depth(drift, picture),
        [_folded("Measures", f"y is measured, t is true, u is half an ulp of 1 in y's format.\n\n{_measures()}")],
        [_folded("Provenance", f"The truth is {description(drift)}.\n\n{_provenance(drift)}")],
    ]
    return "\n\n".join(part for section in sections for part in section) + "\n"


def _names(group: Group) -> str:
    return _cell(", ".join(group.variants))


def _summary(drift: Drift) -> str:
    titles = ["variant", "verdict", *(column.title for column in SUMMARY)]
    rows = [
        [row.variant, label(row), *(column.text(row) if row.ran else "" for column in SUMMARY)]
        for row in drift.variants
    ]
    return pipe_table(titles, rows)


def _explained(drift: Drift) -> list[str]:
    """Where the drift comes from, of those of which it is known."""
    known = explained(drift)
    if not known:
        return []
    lines = [f"- **{row.variant}** {_cell(why(row, explanation))}" for row, explanation in known]
    grids = [orders_grid(drift), otherwise_grid(drift)]
    return [
        "## Where the drift comes from",
        "\n".join(lines),
        *(
            _folded(grid.title, f"{OF_SHARES}\n\n{_grid(grid)}" if not place else _grid(grid))
            for place, grid in enumerate(grids)
        ),
    ]


def _grid(grid: Grid) -> str:
    return pipe_table([heading.title for heading in grid.headings], [row.cells for row in grid.rows])


def _tolerances(drift: Drift) -> list[str]:
    found = tolerances(drift)
    if not found:
        return []
    lines = [f"# {', '.join(of.variants)}\n{logits_line(of)}" for of in found]
    layers = [f"# {', '.join(of.variants)}\n{layers_table(of)}" for of in found]
    return ["## Least tolerances that rounding justifies", _code(lines), _folded("Of each layer", _code(layers))]


def _depth(drift: Drift, picture: str | None) -> list[str]:
    if not drift.layers:
        return []
    ends = stage_ends(drift.layers)
    rows = [
        [row.variant, *(short(row.layers[layer]["rel_l2"]) for layer in ends.values())]
        for row in drift.variants
        if row.ran
    ]
    if proven := proven_digits_of(drift, ends.values()):
        rows.append(proven)
    plot = [f"![Relative L2 error by depth]({picture})"] if picture else []
    return ["## Relative L2 error by depth", pipe_table(["variant", *ends.values()], rows), *plot]


def _measures() -> str:
    rows = [[f"`{name}`", row.title, row.formula, row.unit] for name, row in DEFINITIONS.items()]
    return pipe_table(["name", "title", "definition", "unit"], rows)


def _provenance(drift: Drift) -> str:
    return f"```json\n{json.dumps(plain(drift.provenance), indent=1, ensure_ascii=False)}\n```"


def _folded(summary: str, text: str) -> str:
    """What pages on the usual forges show only when it is clicked."""
    return f"<details><summary>{summary}</summary>\n\n{text}\n\n</details>"


def _code(blocks: Sequence[str]) -> str:
    return "```python\n" + "\n\n".join(blocks) + "\n```"


def pipe_table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown, whatever is in its cells."""
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join("| " + " | ".join(_cell(text) for text in line) + " |" for line in lines)


def _cell(text: str) -> str:
    """Text that stays in its cell and on its line."""
    return " ".join(text.split()).replace("|", "\\|")
