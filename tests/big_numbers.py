"""BigFloats made on purpose: significands full of ones and zeros, exponents at every distance, and a judge of RN."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from typing import Any

import numpy as np
from hypothesis import strategies as st
from mpmath.libmp import from_man_exp, mpf_add, mpf_mul, mpf_pos

from refnet.arithmetic.big_floats import BigFloats

BITS = [15, 53, 64, 65, 128, 169, 3325]

Number = tuple[int, int]  # integer and exponent


def significands(bits: int) -> st.SearchStrategy[int]:
    """Integers of just `bits` bits: any, all ones, a power of two, and runs of ones or zeros down to the end."""
    top = 1 << (bits - 1)
    places = st.integers(0, bits - 1)
    return st.one_of(
        st.integers(top, 2 * top - 1),
        st.sampled_from([top, top + 1, 2 * top - 1, 2 * top - 2, top | top >> 1]),
        places.map(lambda place: top | ((1 << place) - 1)),
        places.map(lambda place: (2 * top - 1) ^ ((1 << place) - 1) | top),
        places.map(lambda place: top | (1 << place)),
    )


def exponents(bits: int) -> st.SearchStrategy[int]:
    """Around 0, around -bits, -2 bits, a limb, and far away on both sides."""
    near = [0, 1, 63, 64, 65, bits - 1, bits, bits + 1, 2 * bits, 2 * bits + 64]
    return st.one_of(
        st.sampled_from([*near, *(-place for place in near)]),
        st.integers(-2 * bits - 130, 2 * bits + 130),
        st.integers(-(10**6), 10**6),
        st.sampled_from([-(1 << 58), 1 << 58]),
    )


def numbers(bits: int) -> st.SearchStrategy[Number]:
    """Zero, or a signed integer of just `bits` bits and an exponent."""
    signs = st.sampled_from([-1, 1])
    some = st.tuples(signs, significands(bits), exponents(bits)).map(lambda parts: (parts[0] * parts[1], parts[2]))
    return st.just((0, 0)) | some


def raw(number: Number) -> Any:
    """mpmath.libmp's own number, exactly."""
    return from_man_exp(*number)


def array(parts: Iterable[Number], bits: int, shape: tuple[int, ...] = (-1,)) -> BigFloats:
    """BigFloats of exactly these numbers, put together without refnet's own conversions."""
    parts, limbs = list(parts), -(-bits // 64)
    signs = np.array([(integer > 0) - (integer < 0) for integer, _ in parts], np.int8)
    words = [[abs(integer) >> (64 * place) & (2**64 - 1) for place in range(limbs)] for integer, _ in parts]
    significands_ = np.array(words, np.uint64).reshape(len(parts), limbs)
    return BigFloats(signs, significands_, np.array([e for _, e in parts], np.int64), bits).reshape(*shape)


def raws(x: BigFloats) -> list[Any]:
    """Each number as mpmath.libmp has it, read from the planes; the layout is checked on the way."""
    found = []
    rows = zip(x.signs.ravel().tolist(), x.significands.reshape(-1, x.limbs), x.exponents.ravel().tolist(), strict=True)
    for sign, limbs, exponent in rows:
        integer = sum(int(limb) << (64 * place) for place, limb in enumerate(limbs))
        assert integer.bit_length() == (x.bits if sign else 0) and (sign or not exponent)
        found.append(from_man_exp(sign * integer, exponent))
    return found


def rounded_sum(a: Any, b: Any, bits: int) -> Any:
    """RN(a + b) by mpmath.libmp."""
    return mpf_add(a, b, bits, "n")


def rounded_product_sum(x: Any, s: Any, t: Any, bits: int) -> Any:
    """RN(x s + t) by mpmath.libmp, whose product is exact."""
    return rounded_wide_sum(mpf_mul(x, s), t, bits)


def rounded_wide_sum(a: Any, b: Any, bits: int) -> Any:
    """RN(a + b) by mpmath.libmp for numbers of up to 3 `bits` and 53 bits.

    Where it rounds itself, mpf_add takes a number far below the first bit of the other for one below its last bit,
    which is wrong for numbers wider than `bits`; so it adds exactly unless they are so far apart that this is true.
    """
    tops = [number[2] + number[3] for number in (a, b) if number[1]]
    if len(tops) == 2 and abs(tops[0] - tops[1]) > 8 * bits + 256:
        return mpf_add(a, b, bits, "n")
    return mpf_pos(mpf_add(a, b), bits, "n")


def fraction(number: Number) -> Fraction:
    """The exact value."""
    integer, exponent = number
    return Fraction(integer) * Fraction(2) ** exponent


def nearest(x: Fraction, bits: int) -> Any:
    """RN by Python's fractions alone, whose round() has ties to even."""
    if not x:
        return raw((0, 0))
    exponent = x.numerator.bit_length() - x.denominator.bit_length() - bits + 1
    if abs(x) < Fraction(2) ** (exponent + bits - 1):
        exponent -= 1
    return mpf_pos(raw((round(x / Fraction(2) ** exponent), exponent)))
