"""The measures of drift, each defined once: what code computes, reports print and tests read is this table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .comparison import Comparison, at, ratio

Array = NDArray[np.floating]


@dataclass(frozen=True)
class Definition:
    """name: the column.  title: a heading for people.  formula: with y measured, t true.  unit: "" is none."""

    name: str
    title: str
    formula: str
    unit: str


@dataclass(frozen=True)
class Measure(Definition):
    """value: from a Comparison; NaN where the measure has no meaning (no finite pair, or not a direct sum)."""

    value: Callable[[Comparison], float]


def _largest(x: Array) -> float:
    return float(np.max(x)) if x.size else float("nan")


def _relative_l2(c: Comparison) -> float:
    return ratio(c.error_norm, c.truth_norm) if c.t.size else float("nan")


def _max_over_rms(c: Comparison) -> float:
    return ratio(_largest(c.error), c.truth_norm / c.t.size**0.5) if c.t.size else float("nan")


def _sqnr(c: Comparison) -> float:
    if not c.t.size:
        return float("nan")
    if c.error_norm == 0:
        return float("inf")
    return 20 * (float(np.log10(c.truth_norm)) - float(np.log10(c.error_norm))) if c.truth_norm else float("-inf")


def _max_over_sum(c: Comparison) -> float:
    if c.scale is None or not c.t.size:
        return float("nan")
    scale = np.asarray(at(c.scale, c.finite), np.float64) * c.format.unit_roundoff
    with np.errstate(divide="ignore"):
        quotient = np.divide(c.error, scale, out=np.zeros_like(scale), where=c.error != 0)
    return _largest(quotient)


MEASURES = {
    measure.name: measure
    for measure in (
        Measure("max_abs", "max abs error", "max |y - t|", "", lambda c: _largest(c.error)),
        Measure(
            "rel_l2",
            "relative L2",
            "||y - t|| / ||t||, which is also the RMS error over the RMS of the layer",
            "",
            _relative_l2,
        ),
        Measure("max_over_rms", "max error / RMS", "max |y - t| / RMS(t)", "", _max_over_rms),
        Measure(
            "max_ulp",
            "max ULP",
            "max of |y - t| / 2^(max(floor(log2 |t|), emin) - p + 1) in y's format, over t != 0",
            "ulp",
            lambda c: _largest(c.ulps),
        ),
        Measure("p99_ulp", "p99 ULP", "99th percentile of the ULP errors", "ulp", lambda c: c.ulp_percentile(99)),
        Measure("median_ulp", "median ULP", "median of the ULP errors", "ulp", lambda c: c.ulp_percentile(50)),
        Measure("zero_truths", "true zeros", "number of t = 0", "count", lambda c: c.at_zero.size),
        Measure("max_abs_at_zero", "max at true zeros", "max |y| where t = 0", "", lambda c: _largest(c.at_zero)),
        Measure("sqnr_db", "SQNR", "20 log10(||t|| / ||y - t||)", "dB", _sqnr),
        Measure(
            "nonfinite",
            "NaN or infinity mismatches",
            "number of places where y or t is NaN or infinite and the other is not the same",
            "count",
            lambda c: c.nonfinite,
        ),
        Measure(
            "max_over_sum",
            "max error / (u sum |a b|)",
            "max |y - t| / (u sum |a b|), sums over the truth's inputs; convolution and dense only (Higham 2002, 3.1)",
            "",
            _max_over_sum,
        ),
    )
}


def measure(values: Array, truth: Array, *, scale: Array | None = None) -> dict[str, float]:
    """Every measure of MEASURES by name, for values y (float16, float32 or float64) and truth t of the same shape.

    Raises InputError when the shapes differ or y's type is no known format.
    """
    return measure_comparison(Comparison(np.asarray(values), np.asarray(truth), scale))


def relative_l2(values: Array, truth: Array) -> float:
    """The measure rel_l2 alone. Raises InputError when the shapes differ."""
    return _relative_l2(Comparison(values, truth))


def relative_error(values: Array, truth: Array) -> float:
    """The measure rel_l2 where all values are finite; infinity where one is not."""
    return relative_l2(values, truth) if np.isfinite(values).all() else float("inf")


def measure_comparison(comparison: Comparison) -> dict[str, float]:
    """Every measure of MEASURES by name."""
    return {name: measure.value(comparison) for name, measure in MEASURES.items()}
