"""Errors counted in units in the last place, and bits compared as integers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..arithmetic.formats import Format
from ..errors import InputError

Array = NDArray[np.floating]

EXPONENT_BITS = 0x7FF << 52  # of float64


def spacing(x: Array, format_: Format) -> NDArray[np.float64]:
    """One ulp of each number of the format: 2^(max(floor(log2 |x|), emin) - p + 1), for x in float64 and finite."""
    power = (np.asarray(x, np.float64).view(np.int64) & EXPONENT_BITS).view(np.float64)  # 2^floor(log2 |x|); 0 of a
    return np.maximum(power, 2.0**format_.emin) * 2.0 ** (1 - format_.precision)  # subnormal number of float64


def ulp_errors(error: Array, truth: Array, format_: Format) -> NDArray[np.float64]:
    """|y - t| in ulp of the truth, element by element; p and emin are those of y's `format_`.

    error: |y - t| in float64.  truth t: float64, finite and not zero.  The division is by a power of two and so is
    exact; what lies beyond float64 is infinity.
    """
    with np.errstate(over="ignore"):
        return np.asarray(error / spacing(truth, format_), np.float64)


@dataclass(frozen=True)
class BitDifference:
    """How many numbers of two arrays differ in their bits; a pair of +0 and -0 is counted in zero_signs alone."""

    values: int
    zero_signs: int


def bit_difference(first: Array, second: Array) -> BitDifference:
    """Compare two arrays of one shape and type as integers; all NaN are one (canonical) NaN.

    Raises InputError when shapes or types differ.
    """
    if first.shape != second.shape or first.dtype != second.dtype:
        raise InputError(
            f"bits of {first.dtype} {first.shape} against {second.dtype} {second.shape}",
            expected="one shape and one type",
        )
    integer = np.dtype(f"u{first.dtype.itemsize}")
    differ = np.ascontiguousarray(first).view(integer) != np.ascontiguousarray(second).view(integer)
    differ &= ~(np.isnan(first) & np.isnan(second))
    zeros = differ & (first == 0) & (second == 0)
    return BitDifference(int(np.count_nonzero(differ & ~zeros)), int(np.count_nonzero(zeros)))
