"""One array held against its truth: the quantities that several measures share, each computed once."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, isfinite, sqrt

import numpy as np
from numpy.typing import NDArray

from ..arithmetic.formats import Format, format_named
from ..errors import InputError
from ..lazy import cached_property
from .ulp import ulp_errors

Array = NDArray[np.floating]

SMALLEST_SQUARE = 2.0**-900
"""A sum of squares above it has lost no digit to those that vanish, which are below 2^-1022 each."""


@dataclass(frozen=True)
class Comparison:
    """values y and truth t of one shape; y's type names its format, t is taken as float64.

    scale: sum |a b| of each output (same shape), for layers that are direct sums; None for the others.
    Only places where both are finite enter an error; `nonfinite` counts the others unless both hold the same.
    """

    values: Array
    truth: Array
    scale: Array | None = None

    def __post_init__(self) -> None:
        if self.values.shape != self.truth.shape:
            raise InputError(f"values of shape {self.values.shape}", expected=f"the truth's shape {self.truth.shape}")
        if self.scale is not None and self.scale.shape != self.truth.shape:
            raise InputError(f"a scale of shape {self.scale.shape}", expected=f"the truth's shape {self.truth.shape}")

    @cached_property
    def format(self) -> Format:
        return format_named(self.values.dtype.name)

    @cached_property
    def finite(self) -> NDArray[np.bool_]:
        return np.isfinite(self.values) & np.isfinite(self.truth)

    @cached_property
    def y(self) -> NDArray[np.float64]:
        return np.asarray(at(self.values, self.finite), np.float64)

    @cached_property
    def t(self) -> NDArray[np.float64]:
        return np.asarray(at(self.truth, self.finite), np.float64)

    @cached_property
    def nonzero(self) -> NDArray[np.bool_]:
        """Where t is not zero."""
        return self.t != 0

    @cached_property
    def error(self) -> NDArray[np.float64]:
        """|y - t|."""
        with np.errstate(over="ignore"):
            return np.asarray(np.abs(self.y - self.t), np.float64)

    @cached_property
    def error_norm(self) -> float:
        return norm(self.error)

    @cached_property
    def truth_norm(self) -> float:
        return norm(self.t)

    @cached_property
    def ulps(self) -> NDArray[np.float64]:
        """ULP errors where the truth is not zero."""
        return ulp_errors(at(self.error, self.nonzero), at(self.t, self.nonzero), self.format)

    def ulp_percentile(self, percent: int) -> float:
        """The smallest ULP error that at least `percent` of all ULP errors do not exceed; NaN of none.

        Always one of the errors, as some may be infinite.
        """
        count = self.ulps.size
        return nth_smallest(self.ulps, max(-(-percent * count // 100) - 1, 0)) if count else float("nan")

    @cached_property
    def at_zero(self) -> NDArray[np.float64]:
        """|y| where the truth is zero."""
        return np.asarray(np.abs(at(self.y, ~self.nonzero)), np.float64)

    @cached_property
    def nonfinite(self) -> int:
        if self.finite.all():
            return 0
        same = (self.values == self.truth) | (np.isnan(self.values) & np.isnan(self.truth))
        return int(np.count_nonzero(~self.finite & ~same))


def at(x: Array, mask: NDArray[np.bool_]) -> Array:
    """The elements of x where the mask is true, in one row; no copy of a contiguous x where all are."""
    return x.reshape(-1) if mask.all() else x[mask]


def nth_smallest(x: NDArray[np.float64], place: int) -> float:
    """x sorted, at `place` from 0; every number >= 0 or infinite, none NaN.

    Such numbers lie in the order of their bits, so that counting the upper 16 bits leaves few to be sorted.
    """
    upper = x.view(np.int64) >> 48
    up_to = np.cumsum(np.bincount(upper))
    part = int(np.searchsorted(up_to, place, side="right"))
    before = int(up_to[part - 1]) if part else 0
    return float(np.partition(x[upper == part], place - before)[place - before])


def norm(x: NDArray[np.float64]) -> float:
    """Euclidean norm; x is scaled by its largest element first where squares would overflow or vanish.

    NumPy's own summation and no BLAS: the digits shall not depend on the threads of a library.
    """
    with np.errstate(over="ignore", under="ignore"):
        square = float(np.sum(np.square(x)))
    if SMALLEST_SQUARE < square < inf:
        return sqrt(square)
    largest = float(np.max(np.abs(x), initial=0.0))
    if largest == 0 or not isfinite(largest):
        return largest
    return largest * sqrt(np.sum(np.square(x / largest)))


def ratio(numerator: float, denominator: float) -> float:
    """numerator / denominator of two numbers >= 0, where 0 / 0 is 0 (no error at all) and e / 0 is infinity."""
    if numerator == 0:
        return 0.0
    return numerator / denominator if denominator else float("inf")
