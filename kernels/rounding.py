"""Rounding of whole arrays to a narrower format with float32's exponents: what tf32 does to operands."""

from __future__ import annotations

import numpy as np
from numba import types
from numpy.typing import NDArray

from ..arithmetic.formats import Array, Format, round_to
from .jit import compiled, kernel

Integers = NDArray[np.int32]


@kernel
def drop_bits(bits: Integers, dropped: int, result: Integers) -> None:
    """RN, ties to even, of float32 numbers given as integers, to `dropped` bits fewer; NaN stays."""
    half = (1 << (dropped - 1)) - 1
    for i in range(bits.size):
        value = bits[i]
        rounded = (value + np.int32(half) + ((value >> dropped) & np.int32(1))) & np.int32(-1 << dropped)
        result[i] = value if (value & np.int32(0x7FFFFFFF)) > np.int32(0x7F800000) else rounded


def operands(x: Array, format_: Format) -> Array:
    """round_to(x, format_) for an operand, quickly where the format has float32's exponents."""
    if format_.is_working and x.dtype == format_.working:
        return x
    if x.dtype != np.float32 or (format_.emin, format_.emax) != (-126, 127):
        return round_to(x, format_)
    result = np.empty(x.shape, np.float32)
    integers = types.Array(types.int32, 1, "C")
    bits = np.ascontiguousarray(x).reshape(-1).view(np.int32)
    compiled(drop_bits, integers, types.int32, integers)(
        bits, 24 - format_.precision, result.reshape(-1).view(np.int32)
    )
    return result
