"""The measured claims as the terminal and a Markdown page show them: a row for each claim, one for each experiment."""

from __future__ import annotations

from rich.console import Group
from rich.text import Text

from ..claims import CLAIMS, Claims, Measured, sentence, verdict
from .markdown import pipe_table
from .summary import short
from .table import add_row, table_of

TITLES = ("the usual answer says", "does it?", "a logit changes by", "measured")


def claims_tables(found: Claims) -> Group:
    """What `refnet claims` prints; give it to a rich Console."""
    details = table_of("changed", "differing", "max abs", "max ULP", "error, first", "error, second", "outcome")
    details.columns[0].justify = details.columns[-1].justify = "left"
    sentences: list[Text] = []
    for name, rows in found.measured.items():
        add_row(details, Text(CLAIMS[name].text, style="bold"))
        for row in rows:
            add_row(details, *_cells(row))
        sentences.append(
            Text.assemble((f"\n{CLAIMS[name].text}? {verdict(rows)}\n", "bold"), sentence(CLAIMS[name], rows))
        )
    return Group(Text(_headline(found), style="bold"), details, *sentences)


def claims_markdown(found: Claims) -> str:
    """A table for README or a pull request."""
    rows = [
        [CLAIMS[name].text, verdict(rows), _range(rows), sentence(CLAIMS[name], rows)]
        for name, rows in found.measured.items()
    ]
    return f"{_headline(found)}\n\n{pipe_table(TITLES, rows)}\n"


def _headline(found: Claims) -> str:
    about = found.provenance
    weights, (_, height, width, _) = about["weights"], about["pictures"]["shape"]
    return (
        f"weights: {weights['source']} ({weights['sha256'][:12]}) · picture: {height} x {width} · "
        f"rounding explains a relative error of logits up to {short(found.limit.rounding)}"
    )


def _cells(row: Measured) -> list[str]:
    first, second = row.experiment.first, row.experiment.second
    name = f"  {second}" if first.variant == second.variant else f"  {second} / {first}"
    if row.outcome == "not run":
        return [name, "", "", "", "", "", row.outcome]
    numbers = (row.max_abs, row.max_ulp, row.error_first, row.error_second)
    return [name, f"{row.differing}", *map(short, numbers), row.outcome]


def _range(rows: tuple[Measured, ...]) -> str:
    """From the smallest to the largest |difference| of logits among the experiments that ran."""
    numbers = sorted(row.max_abs for row in rows if row.outcome != "not run")
    if not numbers:
        return "-"
    low, high = short(numbers[0]), short(numbers[-1])
    return low if low == high else f"{low} to {high}"
