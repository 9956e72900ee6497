"""Two runs side by side: the rows that both have, and what else is different about them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import InputError
from .rows import Bench, Row

CONDITIONS = ("cpu.model", "cpu.cores", "python", "packages", "revision", "threads", "size", "weights", "load")
"""Entries of the provenance that change times; `a.b` is b within a."""


@dataclass(frozen=True)
class Change:
    """The same measurement in two runs."""

    before: Row
    after: Row

    @property
    def of_values(self) -> float:
        """after over before: below 1 is faster, or less memory."""
        return self.after.value / self.before.value

    @property
    def of_ratios(self) -> float:
        """The same of the ratios to the other side: what is left when the machine itself was slower; NaN without."""
        return self.after.ratio / self.before.ratio


def changes(before: Bench, after: Bench) -> list[Change]:
    """Rows with values in both, in the order of `before`. Raises InputError if there are none."""
    second = {row.key: row for row in after.rows if row.values}
    found = [Change(row, second[row.key]) for row in before.rows if row.values and row.key in second]
    if not found:
        raise InputError("the two files have no measurement in common")
    return found


def different_conditions(before: Bench, after: Bench) -> list[str]:
    """`name: before, after` of each condition that is not the same; of packages only those that differ."""
    lines = []
    for name in CONDITIONS:
        first, second = _entry(before.provenance, name), _entry(after.provenance, name)
        if isinstance(first, Mapping) and isinstance(second, Mapping):
            keys = [key for key in {**first, **second} if first.get(key) != second.get(key)]
            lines += [f"{key}: {first.get(key)}, {second.get(key)}" for key in keys]
        elif first != second:
            lines.append(f"{name}: {first}, {second}")
    return lines


def _entry(provenance: Mapping[str, Any], name: str) -> Any:
    value: Any = provenance
    for key in name.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value
