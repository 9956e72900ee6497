"""double-double: a number is the unevaluated sum of two float64, hi = RN(hi + lo).

The algorithms are written once, on pairs of whatever `base` computes with: NumPy arrays or LLVM vectors of float64.
Names and bounds are those of Joldes, Muller and Popescu, "Tight and rigorous error bounds for basic building blocks of
double-word arithmetic", ACM TOMS 44(2), 2017; u = 2^-53. What the formulas give for infinities and NaN is the result.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from mpmath import mp
from mpmath.libmp import from_float, mpf_add
from numpy.typing import NDArray

from .chains import two_product, two_sum
from .formats import Array

Pair = tuple[Any, Any]


class DoubleDouble(NamedTuple):
    """An array of double-double numbers: two float64 arrays of the same shape."""

    hi: Array
    lo: Array

    @property
    def shape(self) -> tuple[int, ...]:
        return self.hi.shape

    @property
    def dtype(self) -> np.dtype[np.void]:
        """Of one number; no array of NumPy's holds it."""
        return np.dtype([("hi", np.float64), ("lo", np.float64)])

    @property
    def nbytes(self) -> int:
        return self.hi.nbytes + self.lo.nbytes

    def to_mpf(self) -> NDArray[np.object_]:
        """An object array of the exact values as mpmath.mpf."""
        planes = zip(self.hi.flat, self.lo.flat, strict=True)
        exact = [mp.make_mpf(mpf_add(from_float(hi), from_float(lo))) for hi, lo in planes]
        result = np.empty(len(exact), object)
        result[:] = exact
        return result.reshape(self.shape)


def planewise(change: Callable[..., Any], *numbers: Any) -> Any:
    """change(array, ...) of plain arrays, or of both planes where the first is a pair."""
    if isinstance(numbers[0], tuple):
        return DoubleDouble(*(change(*planes) for planes in zip(*numbers, strict=True)))
    return change(*numbers)


def shape_of(number: Any) -> tuple[int, ...]:
    """The shape of a plain array or of a pair's planes."""
    shape: tuple[int, ...] = (number[0] if isinstance(number, tuple) else number).shape
    return shape


def spread(number: Any, shape: tuple[int, ...]) -> Any:
    """A plain array or a pair's planes, broadcast to a shape."""
    return planewise(lambda plane: np.broadcast_to(plane, shape), number)


@dataclass(frozen=True)
class DoubleDoubleOps:
    """Arithmetic on pairs; mul takes plain float64 numbers too, whose product is exact."""

    base: Any

    def add(self, x: Pair, y: Pair) -> Pair:
        """AccurateDWPlusDW: relative error at most 3 u^2 + 13 u^3."""
        ops = self.base
        high, rest = two_sum(ops, x[0], y[0])
        low, rest_low = two_sum(ops, x[1], y[1])
        high, rest = fast_two_sum(ops, high, ops.add(rest, low))
        return fast_two_sum(ops, high, ops.add(rest_low, rest))

    def sub(self, x: Pair, y: Pair) -> Pair:
        return self.add(x, self.neg(y))

    def mul(self, x: Any, y: Any) -> Pair:
        """DWTimesDW3: relative error at most 5 u^2; of plain numbers 2Prod, which is exact."""
        ops = self.base
        if not isinstance(x, tuple):
            return two_product(ops, x, y)
        high, rest = two_product(ops, x[0], y[0])
        crossed = ops.fma(x[0], y[1], ops.mul(x[1], y[1]))
        return fast_two_sum(ops, high, ops.add(rest, ops.fma(x[1], y[0], crossed)))

    def neg(self, x: Pair) -> Pair:
        return self.base.neg(x[0]), self.base.neg(x[1])

    def fma(self, a: Any, b: Any, c: Any) -> Pair:
        raise NotImplementedError("double-double has no fused multiply-add; Arithmetic never asks for one")


def fast_two_sum(ops: Any, a: Any, b: Any) -> Pair:
    """a + b = s + e exactly, if a is not the smaller (Dekker 1971)."""
    s = ops.add(a, b)
    return s, ops.sub(b, ops.sub(s, a))
