"""Where a drift comes from, as people read it: every share is there once, in words, in tables and on all pages."""

from __future__ import annotations

from dataclasses import replace

import pytest
from drift_samples import sample_drift
from report_samples import FORMS, LONG, SHARES, explained_drift, large_drift
from rich.console import Console

from refnet.drift import Drift
from refnet.graph.node import OPERATIONS as GRAPH_OPERATIONS
from refnet.report import html, markdown, tables
from refnet.report.explained import OPERATIONS, alike, explained, orders_grid, otherwise_grid, percent, shares_grid, why
from refnet.report.grids import Grid

NAMES = ["torch-avx2", "jax-threads-1"]
SENTENCE = (
    "177 of 177 layers replayed. Of its drift 58% from the classifier, 40% from convolutions, 2% from batch "
    "normalisations. The logits' relative L2 is 7.2e-8; it would be 1.5e-6 with the classifier pairwise:8, 2.0e-7 with "
    "everything rounded once."
)


def column(grid: Grid, title: str) -> list[str]:
    (place,) = (place for place, heading in enumerate(grid.headings) if heading.title == title)
    return [row.cells[place] for row in grid.rows]


def test_layers_that_compute_alike_are_one_row_and_the_largest_share_is_first() -> None:
    ((row, explanation), _) = explained(explained_drift())
    groups = alike(row, explanation.parts)
    assert [group.share for group in groups] == sorted((group.share for group in groups), reverse=True)
    assert sum(group.share for group in groups) == pytest.approx(1)
    assert sum(len(group.layers) for group in groups) == len(explanation.parts) == 124
    convolutions = [group for group in groups if group.operation == "conv2d"]
    assert {group.form for group in convolutions} == {FORMS["conv2d"], LONG}
    assert sum(group.share for group in convolutions) == pytest.approx(SHARES["conv2d"])
    assert all(group.equal == len(group.layers) and group.added == pytest.approx(1e-7) for group in groups)


def test_layers_that_are_not_equal_to_the_bit_are_not_counted_as_such() -> None:
    ((row, explanation), _) = explained(explained_drift())
    verdicts = {**row.verdicts, "avg_pool": replace(row.verdicts["avg_pool"], kind="rounding")}
    counts = {group.operation: group.equal for group in alike(replace(row, verdicts=verdicts), explanation.parts)}
    assert counts["mean_pool"] == 0 and counts["dense"] == 1


def test_the_tables_have_what_their_headings_say() -> None:
    orders, others, shares = (make(explained_drift()) for make in (orders_grid, otherwise_grid, shares_grid))
    for grid in (orders, others, shares):
        assert all(len(row.cells) == len(grid.headings) for row in grid.rows)
        assert list(dict.fromkeys(column(grid, "variant"))) == NAMES
    for grid, error in ((orders, 0.02), (shares, 2.0)):  # of rounding to what is shown
        total = sum(float(text.removesuffix("%")) for text in column(grid, "share"))
        assert total == pytest.approx(200, abs=error * len(NAMES) * 5)
    assert set(column(orders, "equal to the bit")) == {"1 of 1", "34 of 34", "19 of 19", "53 of 53", "16 of 16"}
    assert set(column(orders, "from ... to")) >= {"predictions", "conv1_bn ... conv5_block3_3_bn"}
    assert column(others, "computed")[:2] == ["as replayed", "rounded once"]
    assert column(others, "of the replay's")[0] == "100%"
    assert set(column(orders, "layers")) == {OPERATIONS[name].removeprefix("the ") for name in FORMS}


def test_every_operation_has_words() -> None:
    assert set(OPERATIONS) == {*GRAPH_OPERATIONS, ""} and len(set(OPERATIONS.values())) == len(OPERATIONS)


def test_the_sentence_says_what_most_comes_from_and_what_that_would_be_otherwise() -> None:
    ((row, explanation), _) = explained(explained_drift())
    assert why(row, explanation) == SENTENCE


@pytest.mark.parametrize(
    ("share", "text"),
    [(0.81234, "81.2%"), (0.0123, "1.23%"), (-0.0123, "-1.23%"), (-1e-6, "0.00%"), (1.0, "100.0%"), (-0.5, "-50.0%")],
)
def test_shares_are_short(share: float, text: str) -> None:
    assert percent(share) == text


def printed(drift: Drift, width: int) -> str:
    console = Console(width=width, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(tables(drift))
    return console.export_text()


def test_every_report_says_it() -> None:
    screen, page, text = printed(explained_drift(), 400), markdown(explained_drift()), html(explained_drift())
    for name in NAMES:
        assert f"{name} {SENTENCE}" in screen and f"- **{name}** {SENTENCE}" in page
    assert text.count(SENTENCE.replace("'", "&#39;")) == len(NAMES)
    assert text.count(f"<td>{LONG}</td>") == len(NAMES) * (1 + 19), "a row for the group, and one for each layer"
    assert "In which order" in page and "| torch-avx2 | classifier | sequential, no fma, bias last | 58.0% |" in page
    assert max(map(len, printed(explained_drift(), 80).splitlines())) <= 80


@pytest.mark.parametrize("drift", [large_drift(), sample_drift()], ids=["judged", "measured"])
def test_where_nothing_is_explained_nothing_is_said(drift: Drift) -> None:
    assert explained(drift) == []
    for text in (printed(drift, 110), markdown(drift), html(drift)):
        assert "Where the drift comes from" not in text
