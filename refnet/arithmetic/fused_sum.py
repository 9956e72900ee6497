"""Sums rounded once: what a dot-product instruction computes of several products and a number.

Every finite operand is an integer times the format's smallest number, so the sum is exact in Python's integers.
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
    unit = accumulate.emin - accumulate.precision + 1  # every operand is an integer times 2^unit
    left, right, first = _integers(a, unit), _integers(b, unit), _integers(start, unit)
    exact = left.dot(right) + first * (1 << -unit)
    to_float = np.frompyfunc(lambda number: rounded(number, 2 * unit, target, rounding.mode), 1, 1)
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


def _integers(x: Array, unit: int) -> NDArray[np.object_]:
    """x / 2^unit as Python integers; 0 for what is not finite."""
    significand, exponent = np.frexp(np.where(np.isfinite(x), x, 0).astype(np.float64))
    whole = np.ldexp(significand, 53).astype(np.int64).astype(object)
    shift = (exponent.astype(np.int64) - 53 - unit).astype(object)
    move = np.frompyfunc(lambda n, by: n << by if by >= 0 else n >> -by, 2, 1)  # only zeros are shifted out
    integers: NDArray[np.object_] = np.asarray(move(whole, shift), object)
    return integers
