"""bench.json: what was measured, with the ratios that follow from it for readers without refnet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from ..drift.storage import number, read_json, write_json
from ..errors import InputError
from .goals import verdicts
from .rows import Bench, Row

SCHEMA = 1
WRITER = "a file that refnet bench --json wrote"
DERIVED = {
    "median": "value",
    "other_median": "other_value",
    "ratio_of_medians": "ratio",
    "median_ratio": "paired_ratio",
}
"""Key in the file -> property of Row that it holds; not read back."""


def save(bench: Bench, path: Path) -> None:
    """Write the whole file or none. Raises InputError for a place that cannot be written."""
    document = {
        "schema": SCHEMA,
        "kind": "bench",
        "finished": bench.finished,
        "truth": bench.truth,
        "provenance": bench.provenance,
        "rows": [{**asdict(row), **{key: getattr(row, name) for key, name in DERIVED.items()}} for row in bench.rows],
        "goals": [
            {
                "name": verdict.goal.name,
                "outcome": verdict.outcome,
                "must": asdict(verdict.goal.must),
                "aim": asdict(verdict.goal.aim),
                "measured": [row.measured for row in verdict.rows],
            }
            for verdict in verdicts(bench.rows)
        ],
    }
    write_json(document, path)


def load(path: Path) -> Bench:
    """Raises InputError for a file that is not there, is no bench.json, or has another schema."""
    document = read_json(path)
    if document.get("kind") != "bench":
        raise InputError(f"{path} is no benchmark", expected=WRITER)
    if document.get("schema") != SCHEMA:
        raise InputError(
            f"{path} has schema {document.get('schema')!r}", expected=f"schema {SCHEMA}", do="measure again"
        )
    try:
        return Bench(
            dict(document["provenance"]),
            str(document["truth"]),
            tuple(_row(row) for row in document["rows"]),
            bool(document["finished"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} is damaged ({type(error).__name__}: {error})", expected=WRITER) from error


def _row(stored: Mapping[str, Any]) -> Row:
    kept = {field.name: stored[field.name] for field in fields(Row)}
    for name in ("values", "other_values"):
        kept[name] = tuple(number(value) for value in kept[name])
    return Row(**kept)
