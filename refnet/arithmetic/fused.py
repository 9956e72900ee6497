"""The correctly rounded fused multiply-add, in NumPy: one rounding of the real number a b + c.

NumPy has no fma, and computing it in a wider format and rounding once more can round twice. So the wide sum is
rounded *to odd*: an inexact result takes the neighbour whose last bit is one, which keeps the information that the
final rounding needs (Boldo and Melquiond, "Emulation of FMA and correctly rounded sums", IEEE TC 57(4), 2008).
"""

from __future__ import annotations

import operator
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from .chains import two_sum
from .formats import Array, Format, round_to


def sum_to_odd(a: Array, b: Array) -> Array:
    """float64 sum of a and b, rounded to odd."""
    s, e = two_sum(operator, a, b)
    even = (s.view(np.int64) & 1) == 0
    inexact = np.isfinite(s) & (e != 0)
    return np.where(inexact & even, np.nextafter(s, np.copysign(np.inf, e)), s)


def fma(a: Array, b: Array, c: Array, format_: Format) -> Array:
    """RN(a b + c) in `format_`, whose numbers a, b and c are; arrays of its working type that broadcast."""
    with np.errstate(all="ignore"):
        if format_.name == "float64":
            return _fma_float64(*np.broadcast_arrays(a, b, c))
        product = np.asarray(a, np.float64) * np.asarray(b, np.float64)  # exact: at most 48 bits
        return round_to(sum_to_odd(product, np.asarray(c, np.float64)), format_)


def _fma_float64(a: Array, b: Array, c: Array) -> Array:
    """Error-free transformations where no exponent is near a limit, rational numbers elsewhere."""
    result = np.asarray(a * b + c)  # right for zero factors, infinite factors and NaN
    result = np.where(np.isinf(c) & np.isfinite(a) & np.isfinite(b), c, result)
    open_ = np.isfinite(a) & np.isfinite(b) & np.isfinite(c) & (a != 0) & (b != 0)
    moderate = open_ & _within(a, 450) & _within(b, 450) & (_within(c, 900) | (c == 0))
    result[moderate] = _fma_moderate(a[moderate], b[moderate], c[moderate])
    for index in np.argwhere(open_ & ~moderate):
        at = tuple(index)
        result[at] = _fma_rational(float(a[at]), float(b[at]), float(c[at]))
    return result


def _within(x: Array, limit: int) -> NDArray[np.bool_]:
    return np.abs(np.frexp(x)[1]) <= limit


def _fma_moderate(a: Array, b: Array, c: Array) -> Array:
    """Boldo and Melquiond, figure 5: the product's two halves and c, summed with one final rounding."""
    product, low = _split_product(a, b)
    sum_low, rest_low = two_sum(operator, c, low)
    high, rest_high = two_sum(operator, product, sum_low)
    return high + sum_to_odd(rest_low, rest_high)


def _split_product(a: Array, b: Array) -> tuple[Array, Array]:
    """a b = p + e exactly, without fma (Dekker 1971), where nothing over- or underflows."""
    p = a * b
    a_high, a_low = _split(a)
    b_high, b_low = _split(b)
    return p, ((a_high * b_high - p) + a_high * b_low + a_low * b_high) + a_low * b_low


def _split(a: Array) -> tuple[Array, Array]:
    """Veltkamp: a = high + low, each of at most 26 bits."""
    scaled = a * 134217729.0  # 2^27 + 1
    high = scaled - (scaled - a)
    return high, a - high


def _fma_rational(a: float, b: float, c: float) -> float:
    exact = Fraction(a) * Fraction(b) + Fraction(c)
    if exact == 0:
        return 0.0  # of numbers that are not both zero: +0 when rounding to nearest
    try:
        value = float(exact)  # Python divides integers with one rounding, subnormals included
    except OverflowError:
        value = float("inf")
    return float(np.copysign(value, float(exact > 0) - 0.5))
