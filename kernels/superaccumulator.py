"""A sum of products as one wide fixed-point number, rounded once at the end (Kulisch, "Computer Arithmetic and
Validity", 2nd edition 2013, 8.3).

The number is the sum of limbs[i] 2^(32 i - 2148), where 2^-2148 is the square of the smallest float64. Between carries
the limbs are any int64, so that adding a product touches a few of them and never a whole number's length.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from .jit import kernel

Limbs = NDArray[np.int64]

LIMB_BITS = 32
LIMB_MASK = 2**LIMB_BITS - 1
LOWEST = -2148  # exponent of the first limb's last bit
LIMBS = 136  # 4352 bits: the largest product lies below 2^4196 of the lowest bit, and there is room for 2^64 of them
CARRY_AFTER = 1 << 27  # products: each adds less than 2^35 to a limb
SPLIT = 27  # a significand is high 2^27 + low, so that all partial products stay below 2^54
SPLIT_MASK = 2**SPLIT - 1
FRACTION = 52
FRACTION_MASK = 2**FRACTION - 1
EXPONENT_MASK = 2047


@kernel
def add_shifted(limbs: Limbs, value: int, position: int) -> None:
    """limbs += value 2^position, in units of the lowest bit; |value| < 2^54."""
    place, shift = position // LIMB_BITS, position % LIMB_BITS
    low, high = (value & LIMB_MASK) << shift, (value >> LIMB_BITS) << shift
    limbs[place] += low & LIMB_MASK
    limbs[place + 1] += (low >> LIMB_BITS) + (high & LIMB_MASK)
    limbs[place + 2] += high >> LIMB_BITS


@kernel
def significand_of(bits: int) -> int:
    """The whole significand of a float64 given as its bits, with its sign."""
    size = bits & FRACTION_MASK
    if (bits >> FRACTION) & EXPONENT_MASK:
        size |= 1 << FRACTION
    return -size if bits < 0 else size


@kernel
def exponent_of(bits: int) -> int:
    """The exponent field of a float64 given as its bits, that of subnormal numbers as 1: value = significand
    2^(field - 1075)."""
    return max((bits >> FRACTION) & EXPONENT_MASK, 1)


@kernel
def add_product(limbs: Limbs, a: float, b: float) -> None:
    """limbs += a b, exactly, of two finite numbers."""
    bits_a, bits_b = np.float64(a).view(np.int64), np.float64(b).view(np.int64)
    left, right = significand_of(bits_a), significand_of(bits_b)
    position = exponent_of(bits_a) + exponent_of(bits_b) - 2
    # an arithmetic shift and a mask split negative numbers too: high is rounded down, low is never negative
    high_a, low_a, high_b, low_b = left >> SPLIT, left & SPLIT_MASK, right >> SPLIT, right & SPLIT_MASK
    add_shifted(limbs, low_a * low_b, position)
    add_shifted(limbs, high_a * low_b, position + SPLIT)
    add_shifted(limbs, low_a * high_b, position + SPLIT)
    add_shifted(limbs, high_a * high_b, position + 2 * SPLIT)


@kernel
def carry(limbs: Limbs) -> None:
    """Every limb but the last becomes one of 0 .. 2^32 - 1; the last keeps the sign of the number."""
    rest = 0
    for i in range(LIMBS - 1):
        value = limbs[i] + rest
        limbs[i] = value & LIMB_MASK
        rest = value >> LIMB_BITS
    limbs[LIMBS - 1] += rest


@kernel
def rounded_limbs(limbs: Limbs, precision: int, emin: int, emax: int) -> float:
    """RN of the number to a format, ties to even; the limbs are used up. Exact zero is +0, a rounded one has the sign
    of the number."""
    carry(limbs)
    negative = limbs[LIMBS - 1] < 0
    if negative:
        for i in range(LIMBS):
            limbs[i] = -limbs[i]
        carry(limbs)
    top = LIMBS - 1
    while top >= 0 and limbs[top] == 0:
        top -= 1
    if top < 0:
        return 0.0
    leading = LIMB_BITS * top
    while limbs[top] >> (leading - LIMB_BITS * top + 1):
        leading += 1
    spacing = max(leading + LOWEST, emin) - precision + 1
    size = math.ldexp(float(nearest_integer(limbs, leading, spacing - LOWEST)), spacing)
    if size > math.ldexp(2.0 - math.ldexp(1.0, 1 - precision), emax):
        size = np.inf
    return -size if negative else size


@kernel
def nearest_integer(limbs: Limbs, leading: int, cut: int) -> int:
    """The number over 2^cut, rounded to nearest, ties to even; its highest bit is `leading`, the result has at most 54
    bits. cut > 0."""
    kept = 0
    for bit in range(leading, cut - 1, -1):
        kept = kept << 1 | bit_of(limbs, bit)
    if cut - 1 > leading or not bit_of(limbs, cut - 1):
        return kept
    place = (cut - 1) // LIMB_BITS
    below = limbs[place] & ((1 << ((cut - 1) % LIMB_BITS)) - 1)
    for i in range(place):
        below |= limbs[i]
    return kept + 1 if below or kept & 1 else kept


@kernel
def bit_of(limbs: Limbs, bit: int) -> int:
    return (limbs[bit // LIMB_BITS] >> (bit % LIMB_BITS)) & 1
