"""exp, correctly rounded: the same bits on every machine, whatever library computes the first approximation.

Ziv's strategy (ACM Transactions on Mathematical Software 17, 1991): approximate exp(x) by y with a known relative
error; where both ends of that enclosure round to the same number, that number is RN(exp(x)); the few inputs that stay
undecided are approximated again with more bits. It ends: exp(x) is irrational for every rational x but 0, so no tie.
"""

from __future__ import annotations

import math

import numpy as np
from mpmath.libmp import from_float, mpf_add, mpf_exp, mpf_sub, to_float
from numpy.typing import ArrayLike

from .formats import Array, Format, round_to
from .integers import rounded

FAST_ERROR = 2.0**-45  # relative; every library's float64 exp is within 2^-51, so that this forgives much
FAST_PRECISION = 24  # up to here the fast approximation leaves about one input in 2^20 undecided
PAIR_BITS = 240
GUARD_BITS = 24  # of the first multiprecision attempt
SLACK_BITS = 6  # mpf_exp is within one unit of its last bit; it is trusted to 2^6 units


def exp(x: ArrayLike, format_: Format) -> Array:
    """RN(exp(x)) in `format_`, ties to even, element by element: an array of `format_.working`, shaped like x.

    x: float64 numbers or narrower ones, taken as they stand. One rounding of the real exp(x): below the smallest
    normal number results are subnormal or zero, beyond the largest one they are infinity. exp(0) = 1, exp(-inf) = 0,
    exp(inf) = inf, exp(NaN) = NaN. Results that leave the range give no warning.
    """
    saturated = 2.0 * format_.emax  # here exp has overflowed in this format, and at its negative it rounds to zero
    clipped = np.clip(np.asarray(x, np.float64), -saturated, saturated)
    if format_.precision > FAST_PRECISION:
        return _exp_by_integers(clipped, format_)
    approximation = np.exp(clipped)
    result = round_to(approximation * (1 - FAST_ERROR), format_)
    undecided = result != round_to(approximation * (1 + FAST_ERROR), format_)
    undecided &= ~np.isnan(clipped)
    if undecided.any():
        result[undecided] = _exp_by_integers(clipped[undecided], format_)
    return result


def exp_of_pairs(hi: Array, lo: Array) -> tuple[Array, Array]:
    """exp(hi + lo) as the float64 nearest to it and the float64 nearest to what is left, from 240 bits of it."""
    exact = [mpf_exp(mpf_add(from_float(a), from_float(b)), PAIR_BITS) for a, b in zip(hi.flat, lo.flat, strict=True)]
    high = [to_float(number, rnd="n") for number in exact]
    low = [to_float(mpf_sub(number, from_float(a)), rnd="n") for number, a in zip(exact, high, strict=True)]
    return np.array(high).reshape(hi.shape), np.array(low).reshape(hi.shape)


def _exp_by_integers(x: Array, format_: Format) -> Array:
    """exp for numbers within the saturated range, and NaN, through multiprecision integers alone."""
    values = [_exp_of_number(number, format_) for number in x.ravel().tolist()]
    return np.array(values, format_.working).reshape(x.shape)


def _exp_of_number(x: float, format_: Format) -> float:
    if math.isnan(x):
        return x
    if x == 0:
        return 1.0
    working = format_.precision + GUARD_BITS
    while True:
        _, significand, exponent, bits = mpf_exp(from_float(x), working)
        missing = working - bits  # mpmath drops trailing zeros
        significand, exponent = int(significand) << missing, exponent - missing
        low = rounded(significand - (1 << SLACK_BITS), exponent, format_)
        high = rounded(significand + (1 << SLACK_BITS), exponent, format_)
        if low == high:
            return low
        working *= 2
