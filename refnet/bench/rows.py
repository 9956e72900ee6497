"""What was measured: rows of times taken in turn, and the ratios that follow from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import nan
from statistics import median
from typing import Any

from ..errors import InputError

KINDS = {
    "keras": "refnet beside a Keras backend's predict",
    "compiled": "refnet beside a compiled model called without Keras",
    "arithmetic": "an arithmetic beside the one it is compared to",
    "replay": "a backend's own orders and forms beside the plain pass that gives the same layers",
    "shape": "one convolution beside OpenBLAS sgemm on the same (M, K, N)",
    "truth": "a whole network in exact sums, in many digits, or certified",
    "memory": "the most memory that a process with one prediction held",
}
UNITS = ("s", "bytes")

Key = tuple[str, str, str, int]


@dataclass(frozen=True)
class Row:
    """One measurement.

    kind: a name in KINDS.  subject, other: what was measured in turn; a row without another has `other=""`.
    values, other_values: one for each repetition, in `unit`; the i-th of both were taken one right after the other.
    batch: pictures in one call.  error, other_error: relative L2 error of the logits from the truth's.
    reason: why there are no values; empty where there are some.
    """

    kind: str
    subject: str
    values: tuple[float, ...] = ()
    other: str = ""
    other_values: tuple[float, ...] = ()
    batch: int = 1
    unit: str = "s"
    error: float | None = None
    other_error: float | None = None
    reason: str = ""

    def __post_init__(self) -> None:
        if self.kind not in KINDS or self.unit not in UNITS:
            raise InputError(
                f"row of kind {self.kind!r} in {self.unit!r}", expected=f"{', '.join(KINDS)} in s or bytes"
            )
        if bool(self.values) == bool(self.reason):
            raise InputError(f"row {self.subject} has {len(self.values)} values", expected="values, or else a reason")
        if len(self.other_values) != (len(self.values) if self.other else 0):
            raise InputError(
                f"row {self.subject} has {len(self.values)} values beside {len(self.other_values)} of {self.other!r}",
                expected="as many of both",
            )
        if not all(value > 0 for value in (*self.values, *self.other_values)):
            raise InputError(f"row {self.subject} has values that are not above 0")

    @property
    def key(self) -> Key:
        """What makes two rows of different files the same measurement."""
        return self.kind, self.subject, self.other, self.batch

    @property
    def value(self) -> float:
        """The median, NaN without values."""
        return median(self.values) if self.values else nan

    @property
    def other_value(self) -> float:
        return median(self.other_values) if self.other_values else nan

    @property
    def ratio(self) -> float:
        """Ratio of the medians, subject over other; NaN without another."""
        return self.value / self.other_value

    @property
    def paired_ratio(self) -> float:
        """Median of the ratios of values taken one right after the other; NaN without another."""
        ratios = [value / other for value, other in zip(self.values, self.other_values, strict=False)]
        return median(ratios) if ratios else nan

    @property
    def measured(self) -> float:
        """What a goal limits: the ratio, or the value of a row without another."""
        return self.ratio if self.other else self.value


@dataclass(frozen=True)
class Bench:
    """One run. truth: the arithmetic that errors are measured from.  finished: False if it was interrupted."""

    provenance: Mapping[str, Any]
    truth: str
    rows: tuple[Row, ...] = field(default_factory=tuple)
    finished: bool = True

    def of_kind(self, *kinds: str) -> list[Row]:
        """The rows of these kinds that have values."""
        return [row for row in self.rows if row.kind in kinds and row.values]


def relative_times(rows: Sequence[Row]) -> dict[str, float]:
    """Name of each arithmetic -> its time over that of the one without a reference.

    The product of the ratios along its references: each was taken in turn, so that the machine's drift cancels. An
    arithmetic whose references were not measured is left out.
    """
    links = {row.subject: row for row in rows if row.kind == "arithmetic" and row.values}
    times: dict[str, float] = {}
    for name in links:
        product, row = 1.0, links.get(name)
        while row is not None and row.other:
            product, row = product * row.ratio, links.get(row.other)
        if row is not None:
            times[name] = product
    return times
