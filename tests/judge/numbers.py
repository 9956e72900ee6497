"""Numbers of a format as exact values, and rounding to nearest, ties to even.

A number is a Fraction or one of the four things that no Fraction is: NaN, the two infinities and minus zero.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np

Number = Fraction | str
NAN, INF, NEGATIVE_INF, NEGATIVE_ZERO = SPECIALS = ("nan", "+inf", "-inf", "-0")
ZERO, ONE = Fraction(0), Fraction(1)

FORMATS = {  # name -> (significand bits, exponent of the smallest normal number, exponent of the largest)
    "float16": (11, -14, 15),
    "bfloat16": (8, -126, 127),
    "tf32": (11, -126, 127),
    "float32": (24, -126, 127),
    "float64": (53, -1022, 1023),
}
OPERANDS = {name: name for name in FORMATS} | {"bfloat16-operands": "bfloat16"}  # by precision
STORAGE = OPERANDS | {"tf32": "float32", "bfloat16-operands": "float32"}
DEFAULT_ACCUMULATE = dict.fromkeys(OPERANDS, "float32") | {"float64": "float64"}


def read(x: Any) -> Number:
    """The exact value of a Python or NumPy number, or of a special one by its name."""
    if isinstance(x, Fraction | str):
        return x
    if isinstance(x, int | np.integer):
        return Fraction(int(x))
    value = float(x)
    if math.isnan(value):
        return NAN
    if math.isinf(value):
        return INF if value > 0 else NEGATIVE_INF
    return NEGATIVE_ZERO if value == 0 and math.copysign(1, value) < 0 else Fraction(value)


def to_float(x: Number) -> float:
    """The Python float of this value; exact for a number of any of the formats."""
    return float(x)


def bits(x: Number, format: str) -> int:
    """The IEEE 754 encoding of a number that is in `format`; the one NaN is quiet and positive. tf32 as float32."""
    precision, emin, emax = FORMATS[STORAGE[format]]
    top = 1 << (precision - 1)  # of the exponent field, in units of the last fraction bit
    infinity = (2 * emax + 1) * top
    if x == NAN:
        return infinity + top // 2
    if is_infinite(x):
        pattern = infinity
    else:
        magnitude = abs(real(x))
        exponent = max(floor_log2(magnitude), emin) if magnitude else emin
        pattern = int(magnitude / Fraction(2) ** (exponent - precision + 1)) + (exponent - emin) * top
    return pattern + (2 * emax + 2) * top * is_negative(x)


def real(x: Number) -> Fraction:
    return x if isinstance(x, Fraction) else ZERO if x == NEGATIVE_ZERO else Fraction(x)


def is_negative(x: Number) -> bool:
    return x < 0 if isinstance(x, Fraction) else x in (NEGATIVE_ZERO, NEGATIVE_INF)


def is_infinite(x: Number) -> bool:
    return x in (INF, NEGATIVE_INF)


def is_zero(x: Number) -> bool:
    return x in (ZERO, NEGATIVE_ZERO)


def signed(magnitude: Number, negative: bool) -> Number:
    """The number with this sign, given its magnitude: a fraction of at least 0 or INF."""
    if isinstance(magnitude, Fraction) and magnitude:
        return -magnitude if negative else magnitude
    if not negative:
        return magnitude
    return NEGATIVE_INF if magnitude == INF else NEGATIVE_ZERO


def negated(x: Number) -> Number:
    return x if x == NAN else signed(INF if is_infinite(x) else abs(real(x)), not is_negative(x))


def floor_log2(x: Fraction) -> int:
    exponent = x.numerator.bit_length() - x.denominator.bit_length()
    return exponent if Fraction(2) ** exponent <= x else exponent - 1


def round_to(x: Number, format: str) -> Number:
    """RN: to nearest, ties to even; gradual underflow, overflow to infinity, the sign of zero kept."""
    if not isinstance(x, Fraction) or x == 0:
        return x
    precision, emin, emax = FORMATS[format]
    spacing = Fraction(2) ** (max(floor_log2(abs(x)), emin) - precision + 1)
    magnitude = round(abs(x) / spacing) * spacing  # round() of a Fraction takes ties to the even integer
    return signed(INF if magnitude >= Fraction(2) ** (emax + 1) else magnitude, x < 0)
