"""The replays as a page: a row for each variant, with the numbers whose bits differ, and which layers have them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from ..report.markdown import pipe_table
from .replays import ReplayCell

TITLES = (
    "variant", "pictures", "layers", "numbers of layers", "differ", "plain logits", "differ",
    "numbers by the definition", "differ",
)  # fmt: skip


def replays_summary(cells: Sequence[ReplayCell]) -> str:
    """One sentence: how many replays there are, and how many variants are equal in every bit."""
    ran = [cell for cell in cells if cell.status == "ok"]
    names = {cell.variant for cell in ran}
    whole = names - {cell.variant for cell in ran if not cell.whole}
    pictures, sets = max((cell.pictures for cell in ran), default=0), len({cell.weights for cell in ran})
    return (
        f"{sum(cell.pictures for cell in ran)} replays: {len(names)} variants on {pictures} pictures and {sets} "
        f"set{'s' * (sets != 1)} of weights. {len(whole)} of the {len(names)} variants are equal in every bit."
    )


def replays_page(cells: Sequence[ReplayCell]) -> str:
    """Markdown: the summary, the table, the layers that differ and why, what did not run."""
    names = dict.fromkeys(cell.variant for cell in cells)
    by_name = {name: [cell for cell in cells if cell.variant == name and cell.status == "ok"] for name in names}
    rows = [_row(name, found) for name, found in by_name.items() if found]
    parts = [replays_summary(cells), *([pipe_table(TITLES, rows)] if rows else [])]
    differing = [line for name, found in by_name.items() for line in _differing(name, found)]
    missed = [f"- **{cell.variant}** ({cell.status}), {cell.weights}: {cell.reason}" for cell in cells if cell.reason]
    for title, lines in (("Layers that differ:", differing), ("Did not run:", missed)):
        parts += [title, "\n".join(lines)] if lines else []
    return "\n\n".join(parts) + "\n"


def _row(name: str, cells: Sequence[ReplayCell]) -> list[str]:
    numbers = [
        (sum(cell.numbers for cell in cells), sum(sum(cell.differing.values()) for cell in cells)),
        (sum(cell.logits for cell in cells), sum(cell.plain for cell in cells)),
        (sum(cell.spec for cell in cells), sum(cell.spec_differing for cell in cells)),
    ]
    pictures, sets = max(cell.pictures for cell in cells), len(cells)
    return [name, f"{pictures} x {sets}", str(cells[0].layers), *(f"{count:,}" for pair in numbers for count in pair)]


def _differing(name: str, cells: Sequence[ReplayCell]) -> list[str]:
    """The layers of a variant that differ, with the reason that its profile gives."""
    counts: Counter[str] = Counter()
    reasons: dict[str, str] = {}
    for cell in cells:
        counts.update(cell.differing)
        reasons.update(cell.unexplained)
    return [
        f"- **{name}**, {layer}: {count:,} numbers" + (f"; {reasons[layer]}" if layer in reasons else "")
        for layer, count in counts.items()
    ] + [f"- **{name}**, {part}: not explained, {reason}" for part, reason in reasons.items() if part not in counts]
