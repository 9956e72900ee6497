"""The drift as a page that a person reads: summary, picture, what the words mean, where the numbers come from."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from ..drift import LOGIT_MEASURES, MEASURES, Drift
from ..drift.measures import Definition
from ..drift.storage import plain
from .summary import CAPTION, SUMMARY, headline, proven_digits_of, short, stage_ends, with_reasons


def markdown(drift: Drift, picture: str | None = None) -> str:
    """The whole page; `picture` is the file name of the plot beside it."""
    sections = [
        ["# Drift", headline(drift), f"The truth is {drift.truth.get('description', drift.truth['kind'])}."],
        ["## Logits", _summary(drift), CAPTION],
        _reasons(drift),
        _depth(drift, picture),
        ["## Measures", "y is measured, t is true, u is half an ulp of 1 in y's format.", _measures()],
        ["## Provenance", _provenance(drift)],
    ]
    return "\n\n".join(part for section in sections for part in section) + "\n"


def _summary(drift: Drift) -> str:
    titles = ["variant", "status", *(column.title for column in SUMMARY)]
    rows = [
        [row.variant, row.status, *(column.text(row) if row.ran else "" for column in SUMMARY)]
        for row in drift.variants
    ]
    return _table(titles, rows)


def _reasons(drift: Drift) -> list[str]:
    rows = with_reasons(drift)
    if not rows:
        return []
    return ["## What went wrong", "\n".join(f"- **{row.variant}** ({row.status}): {_cell(row.reason)}" for row in rows)]


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
    return ["## Relative L2 error by depth", _table(["variant", *ends.values()], rows), *plot]


def _measures() -> str:
    definitions: list[Definition] = [*MEASURES.values(), *LOGIT_MEASURES.values()]
    rows = [[f"`{row.name}`", row.title, row.formula, row.unit] for row in definitions]
    return _table(["name", "title", "definition", "unit"], rows)


def _provenance(drift: Drift) -> str:
    return f"```json\n{json.dumps(plain(drift.provenance), indent=1, ensure_ascii=False)}\n```"


def _table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join("| " + " | ".join(_cell(text) for text in line) + " |" for line in lines)


def _cell(text: str) -> str:
    """Text that stays in its cell and on its line."""
    return " ".join(text.split()).replace("|", "\\|")
