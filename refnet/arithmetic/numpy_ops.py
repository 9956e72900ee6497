"""Arithmetic on arrays in one format: the meaning of add, mul and fma in every definition of refnet.

The same names, with LLVM vectors for numbers, are in kernels/llvm_ops.py; an order is written in terms of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from .formats import Array, Format, round_to
from .fused import fma


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

    def _rounded(self, x: Array) -> Array:
        return x if self.format.is_working else round_to(x, self.format)
