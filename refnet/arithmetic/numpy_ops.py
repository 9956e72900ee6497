"""Arithmetic on arrays in one format: the meaning of add, mul and fma in every definition of refnet.

The same names, with LLVM vectors for numbers, are in kernels/llvm_ops.py; an order is written in terms of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .double_double import DoubleDouble, DoubleDoubleOps
from .exponential import exp, exp_of_pairs
from .formats import FORMATS, Array, Format, round_to
from .fused import fma, sum_to_odd


@dataclass(frozen=True)
class NumpyOps:
    """Each operation rounds once, to nearest even, to `format`; numbers are arrays of its working type.

    float16 and bfloat16 add and multiply in float32 and round once more, which is the correct rounding because
    24 >= 2 p + 2 (Figueroa, "When is double rounding innocuous?", SIGNUM 30(3), 1995).
    """

    format: Format

    def storage(self, x: ArrayLike) -> Array:
        """x rounded into this arithmetic."""
        return round_to(x, self.format)

    def factors(self, a: Array, b: Array) -> tuple[Array, Array]:
        """What `mul` takes: both rounded into this arithmetic."""
        return self.storage(a), self.storage(b)

    def zeros(self, shape: tuple[int, ...]) -> Array:
        return np.zeros(shape, self.format.working)

    def add(self, a: Array, b: Array) -> Array:
        with np.errstate(all="ignore"):
            return self._rounded(a + b)

    def sub(self, a: Array, b: Array) -> Array:
        with np.errstate(all="ignore"):
            return self._rounded(a - b)

    def mul(self, a: Array, b: Array) -> Array:
        with np.errstate(all="ignore"):
            return self._rounded(a * b)

    def div(self, a: Array, b: Array) -> Array:
        with np.errstate(all="ignore"):
            return self._rounded(a / b)

    def sqrt(self, a: Array) -> Array:
        with np.errstate(all="ignore"):
            return self._rounded(np.sqrt(a))

    def fma(self, a: Array, b: Array, c: Array) -> Array:
        return fma(a, b, c, self.format)

    def neg(self, a: Array) -> Array:
        return -a

    def exp(self, a: Array) -> Array:
        return exp(a, self.format)

    def _rounded(self, x: Array) -> Array:
        return x if self.format.is_working else round_to(x, self.format)


class NumpyPairs(DoubleDoubleOps):
    """double-double on arrays; numbers are DoubleDouble, and operands of `mul` may be plain arrays."""

    def storage(self, x: Any) -> DoubleDouble:
        """x, exactly."""
        if isinstance(x, tuple):
            return DoubleDouble(*x)
        high = np.asarray(x, np.float64)
        return DoubleDouble(high, np.zeros_like(high))

    def factors(self, a: Any, b: Any) -> tuple[Any, Any]:
        """What `mul` takes: two pairs, or two plain arrays whose product is exact."""
        paired = isinstance(a, tuple) or isinstance(b, tuple)
        return (self.storage(a), self.storage(b)) if paired else (self.base.storage(a), self.base.storage(b))

    def zeros(self, shape: tuple[int, ...]) -> DoubleDouble:
        return DoubleDouble(np.zeros(shape), np.zeros(shape))

    def div(self, x: Any, y: Any) -> Any:
        """Long division by three quotients of the leading parts (Hida, Li and Bailey 2001, ARITH-15)."""
        quotient: Any = self.storage(self.base.div(x[0], y[0]))
        for _ in range(2):
            rest = self.sub(x, self.mul(quotient, y))
            quotient = self.add(quotient, self.storage(self.base.div(rest[0], y[0])))
        return quotient

    def sqrt(self, x: Any) -> Any:
        """One Newton step from the root of the leading part (Karp and Markstein, ACM TOMS 23(4), 1997)."""
        root = self.storage(self.base.sqrt(x[0]))
        rest = self.sub(x, self.mul(root, root))
        half = self.base.div(rest[0], self.base.add(root[0], root[0]))
        return self.add(root, self.storage(np.where(root[0] == 0, 0.0, half)))

    def exp(self, x: Any) -> DoubleDouble:
        """hi and lo nearest to exp(hi + lo)."""
        return DoubleDouble(*exp_of_pairs(*x))


def numpy_ops(format_: Format) -> Any:
    """The arithmetic of a format: NumpyOps, or NumpyPairs for double-double."""
    return NumpyPairs(NumpyOps(FORMATS["float64"])) if format_.planes == 2 else NumpyOps(format_)


def exported(x: Any, format_: Format) -> Any:
    """What a user gets of numbers in `format_`: a DoubleDouble, or an array of the format's result type."""
    return DoubleDouble(*x) if format_.planes == 2 else np.asarray(x, format_.result)


def stored(x: Any, format_: Format) -> Any:
    """x rounded once to `format_`: pairs stay pairs, or become RN(hi + lo) of a narrower format."""
    if format_.planes == 2:
        return NumpyPairs(NumpyOps(FORMATS["float64"])).storage(x)
    if not isinstance(x, tuple):
        return round_to(x, format_)
    if format_.precision == 53:
        return x[0]
    with np.errstate(all="ignore"):
        return round_to(np.where(np.isfinite(x[0]), sum_to_odd(*x), x[0]), format_)
