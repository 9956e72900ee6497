"""Sums rounded once: what a dot-product instruction computes of several products and a number.

Finite operands are integers times a power of two, so the sum is exact in Python's integers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .formats import Array, Format, format_named
from .integers import ROUNDINGS, rounded


@dataclass(frozen=True)
class Rounding:
    """How a fused node rounds its exact sum.

    format: a name in FORMATS, or None for the accumulate format.  mode: `nearest` (ties to even), `zero` (the fraction
    is cut, as tensor cores do), `odd` (an inexact sum takes the neighbour whose last bit is one, as Arm's BFDOT does).
    """

    format: str | None = None
    mode: str = "nearest"

    def __post_init__(self) -> None:
        if self.format is not None:
            format_named(self.format)
        if self.mode not in ROUNDINGS:
            raise InputError(f"rounding {self.mode!r}", expected=f"one of {', '.join(ROUNDINGS)}")

    def within(self, accumulate: Format) -> Format:
        """The format that it rounds to, or InputError where sums in `accumulate` cannot hold its numbers."""
        if accumulate.planes != 1:
            raise InputError("a fused node in double-double", do="choose another accumulate format")
        own = accumulate if self.format is None else format_named(self.format)
        if own.precision > accumulate.precision or own.emax > accumulate.emax or own.emin < accumulate.emin:
            raise InputError(
                f"a fused node in {own.name} with sums in {accumulate.name}", do="accumulate in a wider one"
            )
        return own


NEAREST = Rounding()


def fused_sum(a: Array, b: Array, start: Array, accumulate: Format, rounding: Rounding) -> Array:
    """start + sum over k of a[:, k] b[k, :], rounded once: (M, n), (n, N), (M, N) -> (M, N).

    All operands are numbers of `accumulate`. NaN and infinities among them give what IEEE 754 asks of the sum; an
    exact sum of zero is +0 unless the start and all products are -0. Where the magnitude is too large, `nearest`
    gives infinity and the other modes the largest number.
    """
    target = rounding.within(accumulate)
    (left, left_unit), (right, right_unit), (first, first_unit) = map(_integers, (a, b, start))
    unit = min(left_unit + right_unit, first_unit)
    exact = left.dot(right) * (1 << (left_unit + right_unit - unit)) + first * (1 << (first_unit - unit))
    to_float = np.frompyfunc(lambda number: rounded(number, unit, target, rounding.mode), 1, 1)
    total = np.asarray(to_float(exact), np.float64)
    with np.errstate(all="ignore"):
        minus = np.signbit(start) & (start == 0)
        finite = np.isfinite(start)
        special = np.where(finite, 0.0, np.asarray(start, np.float64))
        for k in range(a.shape[1]):
            x, y = a[:, k, None], b[k]
            minus &= ((x == 0) | (y == 0)) & (np.signbit(x) ^ np.signbit(y))
            known = np.isfinite(x) & np.isfinite(y)
            finite = finite & known
            special = special + np.where(known, 0.0, x * y)
        total = np.where(minus, -0.0, total)
        return np.where(finite, total, special).astype(accumulate.working)


def _integers(x: Array) -> tuple[NDArray[np.object_], int]:
    """x / 2^unit as Python integers, and the largest unit at which all are; 0 for what is not finite."""
    significand, exponent = np.frexp(np.where(np.isfinite(x), x, 0).astype(np.float64))
    whole = np.ldexp(significand, 53).astype(np.int64)
    exponent = np.where(whole == 0, 0, exponent.astype(np.int64) - 53)
    unit = int(exponent.min(initial=0))
    integers: NDArray[np.object_] = np.asarray(whole.astype(object) << (exponent - unit).astype(object), object)
    return integers, unit
