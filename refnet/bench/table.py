"""What `refnet bench` prints: a table for each kind of row, and the goals with what holds."""

from __future__ import annotations

from collections.abc import Sequence
from math import isnan

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from .arithmetics import BASE
from .compare import Change
from .goals import Limit, Verdict, verdicts
from .rows import Bench, Row, relative_times

ARITHMETIC_RATIOS = f"ratios to sequential in the same format, and of formats to {BASE}"
OUTCOME_STYLES = {"aim": "bold green", "must": "green", "missed": "bold red", "not measured": "dim"}


def tables(bench: Bench) -> Group:
    """Everything that was measured; give it to a rich Console."""
    parts: list[RenderableType] = []
    for title, rows, table in (
        ("refnet beside the backends, ms a picture", bench.of_kind("keras", "compiled"), peer_table),
        (
            f"Every arithmetic, one picture; {ARITHMETIC_RATIOS}; errors from {bench.truth}",
            bench.of_kind("arithmetic"),
            arithmetic_table,
        ),
        ("Replays of backends, one picture", bench.of_kind("replay"), replay_table),
        ("Convolutions beside OpenBLAS sgemm", bench.of_kind("shape"), shape_table),
        ("The truth, one picture", bench.of_kind("truth"), truth_table),
    ):
        if rows:
            parts += [Text(title, style="bold"), table(rows, bench), Text()]
    parts += [Text("Goals: time over time, the slowest row counts", style="bold"), goal_table(verdicts(bench.rows))]
    for row in bench.rows:
        if row.reason:
            parts.append(Text(f"{row.other or row.kind}, batch {row.batch}: {row.reason}", style="yellow"))
    if not bench.finished:
        parts.append(Text("interrupted: the rest was not measured", style="yellow"))
    return Group(*parts)


def peer_table(rows: Sequence[Row], bench: Bench) -> Table:
    table = _table("peer", "batch", "refnet ms", "peer ms", "ratio of medians", "median ratio", "peer's error")
    for row in rows:
        own, theirs = _ms(row.value / row.batch), _ms(row.other_value / row.batch)
        ratios = (f"{row.ratio:.2f}", f"{row.paired_ratio:.2f}")
        table.add_row(row.other, str(row.batch), own, theirs, *ratios, _short(row.other_error))
    return table


def arithmetic_table(rows: Sequence[Row], bench: Bench) -> Table:
    """Times over the fastest peer's follow from the ratios to BASE and of BASE to that peer."""
    peers = [row.ratio for row in bench.of_kind("keras") if row.batch == 1]
    fastest = max(peers, default=float("nan"))
    times = relative_times(rows)
    table = _table("arithmetic", "ms", "ratio of medians", "median ratio", f"over {BASE}", "over backend", "error")
    for row in rows:
        relative = times.get(row.subject, float("nan"))
        ratios = (row.ratio, row.paired_ratio, relative, relative * fastest)
        table.add_row(row.subject, _ms(row.value), *map(_ratio, ratios), _short(row.error))
    return table


def replay_table(rows: Sequence[Row], bench: Bench) -> Table:
    table = _table("replay", "replay ms", "plain ms", "ratio of medians", "median ratio")
    for row in rows:
        table.add_row(row.subject, _ms(row.value), _ms(row.other_value), *map(_ratio, (row.ratio, row.paired_ratio)))
    return table


def shape_table(rows: Sequence[Row], bench: Bench) -> Table:
    table = _table("convolution", "refnet ms", "sgemm ms", "ratio of medians", "median ratio")
    for row in rows:
        ratios = (f"{row.ratio:.2f}", f"{row.paired_ratio:.2f}")
        table.add_row(row.subject, _ms(row.value), _ms(row.other_value), *ratios)
    table.add_section()
    table.add_row(f"{sum(row.ratio <= 1 for row in rows)} of {len(rows)} at 1.0x or faster")
    return table


def truth_table(rows: Sequence[Row], bench: Bench) -> Table:
    table = _table("truth", "seconds", "beside", "its seconds", "ratio")
    for row in rows:
        table.add_row(
            row.subject, f"{row.value:.3g}", row.other, _three_digits(row.other_value), _three_digits(row.ratio)
        )
    return table


def goal_table(judged: Sequence[Verdict]) -> Table:
    table = _table("goal", "measured", "must", "aim", "holds")
    for verdict in judged:
        unit = 1e6 if verdict.goal.kind == "memory" else 1.0
        must, aim = (_limit(limit, unit) for limit in (verdict.goal.must, verdict.goal.aim))
        style = OUTCOME_STYLES[verdict.outcome]
        table.add_row(verdict.goal.name, _measured(verdict, unit), must, aim, Text(verdict.outcome, style=style))
    return table


def change_table(changed: Sequence[Change]) -> Table:
    table = _table("measurement", "batch", "before", "after", "after / before", "of the ratios")
    for change in changed:
        row = change.before
        name = f"{row.subject} beside {row.other}" if row.other else row.subject
        values = [_value(row), _value(change.after)]
        table.add_row(name, str(row.batch), *values, _ratio(change.of_values), _ratio(change.of_ratios))
    return table


def _measured(verdict: Verdict, unit: float) -> str:
    """The slowest row, or how many rows are within the limit where not all need be."""
    if not verdict.rows:
        return ""
    if verdict.goal.must.rows is not None:
        return f"{verdict.reached} of {len(verdict.rows)} within {verdict.goal.must.most:g}"
    worst = verdict.rows[0]
    return _limit(Limit(worst.measured), unit)


def _limit(limit: Limit, unit: float) -> str:
    text = (
        f"{limit.most / unit:.0f} MB"
        if unit != 1
        else f"{limit.most:.2f}"
        if limit.most >= 0.1
        else f"{limit.most:.4f}"
    )
    return text if limit.rows is None else f"{text} on {limit.rows}"


def _value(row: Row) -> str:
    return f"{row.value / 1e6:.0f} MB" if row.unit == "bytes" else f"{_ms(row.value)} ms"


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.1f}" if seconds >= 0.01 else f"{seconds * 1000:.3f}"


def _ratio(value: float) -> str:
    return "" if isnan(value) else f"{value:.2f}"


def _three_digits(value: float) -> str:
    return "" if isnan(value) else f"{value:.3g}"


def _short(error: float | None) -> str:
    return "" if error is None else f"{error:.1e}"


def _table(*titles: str) -> Table:
    """Names to the left, numbers to the right, headings in as many lines as they have words."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False, header_style="bold")
    left = {"peer", "arithmetic", "replay", "truth", "beside", "convolution", "goal", "measurement", "holds"}
    for title in titles:
        justify = "left" if title in left else "right"
        table.add_column(title, justify=justify, no_wrap=title in left, vertical="bottom")  # type: ignore[arg-type]
    return table
