"""Arithmetic: each operation is the exact one on numbers, then one rounding to the format."""

from __future__ import annotations

import math
from fractions import Fraction

from .numbers import (
    FORMATS,
    INF,
    NAN,
    NEGATIVE_ZERO,
    ZERO,
    Number,
    floor_log2,
    is_infinite,
    is_negative,
    is_zero,
    negated,
    real,
    round_to,
    signed,
)


def exact_sum(x: Number, y: Number) -> Number:
    if NAN in (x, y):
        return NAN
    infinities = {term for term in (x, y) if is_infinite(term)}
    if infinities:
        return infinities.pop() if len(infinities) == 1 else NAN
    return NEGATIVE_ZERO if x == y == NEGATIVE_ZERO else real(x) + real(y)


def exact_product(x: Number, y: Number) -> Number:
    if NAN in (x, y):
        return NAN
    if is_infinite(x) or is_infinite(y):
        magnitude: Number = INF
        if is_zero(x) or is_zero(y):
            return NAN
    else:
        magnitude = abs(real(x) * real(y))
    return signed(magnitude, is_negative(x) != is_negative(y))


def reciprocal(x: Number) -> Number:
    """1 / x, exactly."""
    if x == NAN:
        return NAN
    magnitude = ZERO if is_infinite(x) else INF if is_zero(x) else 1 / abs(real(x))
    return signed(magnitude, is_negative(x))


def add(x: Number, y: Number, format: str) -> Number:
    return round_to(exact_sum(x, y), format)


def subtract(x: Number, y: Number, format: str) -> Number:
    return add(x, negated(y), format)


def multiply(x: Number, y: Number, format: str) -> Number:
    return round_to(exact_product(x, y), format)


def fma(x: Number, y: Number, z: Number, format: str) -> Number:
    """x y + z with one rounding."""
    return round_to(exact_sum(exact_product(x, y), z), format)


def divide(x: Number, y: Number, format: str) -> Number:
    if is_infinite(x) and is_infinite(y):
        return NAN
    return round_to(exact_product(x, reciprocal(y)), format)


def sqrt(x: Number, format: str) -> Number:
    if is_zero(x) or x in (NAN, INF):
        return x
    if is_negative(x):
        return NAN
    scale = 2 * FORMATS[format][0] + abs(floor_log2(real(x)))  # bits after the point: more than a tie can have
    square = real(x) * 4**scale
    root = math.isqrt(int(square))
    sticky = 0 if root * root == square else Fraction(1, 2)  # strictly between two candidates, so never a tie
    return round_to((root + sticky) / 2**scale, format)


def two_sum(x: Number, y: Number, format: str) -> tuple[Number, Number]:
    """Knuth's, without branches: the rounded sum and its error."""
    total = add(x, y, format)
    part = subtract(total, x, format)
    rest_x = subtract(x, subtract(total, part, format), format)
    return total, add(rest_x, subtract(y, part, format), format)


def two_product(x: Number, y: Number, format: str) -> tuple[Number, Number]:
    """The rounded product and its error, itself rounded where it underflows."""
    product = multiply(x, y, format)
    return product, fma(x, y, negated(product), format)
