"""What is proven of the logits: their digits, the first class, and the softmax."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, log2

import numpy as np
from mpmath import mp, mpf
from mpmath.libmp import from_man_exp, mpf_add, mpf_cmp, mpf_div, mpf_exp, mpf_le, mpf_mul, mpf_neg, mpf_pos, mpf_sub
from numpy.typing import NDArray

RawMpf = tuple[int, int, int, int]  # mpmath.libmp's own numbers
Objects = NDArray[np.object_]
GUARD_BITS = 32


@dataclass(frozen=True)
class FirstClass:
    """The class with the largest logit of one picture, the one after it, and how far they are apart.

    margin: the difference of the midpoints less both radii, a lower bound.  certified: whether that is positive.
    """

    number: int
    next: int
    margin: mpf
    certified: bool


def is_decided(value: mpf, radius: mpf, bits: int) -> bool:
    """Whether all numbers of a ball have one RN to so many bits. An exact number has."""
    low, high = _ends(value, radius)
    return bool(mpf_cmp(mpf_pos(low, bits, "n"), mpf_pos(high, bits, "n")) == 0)


def proven_digits(value: mpf, radius: mpf) -> float:
    """Decimal digits of one number that are proven: -log10(radius / |value|), 0 at least, inf where it is exact."""
    if not radius:
        return inf
    if not value:
        return 0.0
    return max(0.0, (log2_of(value) - log2_of(radius) - 1e-9) / log2(10))  # less than what log2 rounded


def first_class(values: Objects, radii: Objects) -> FirstClass:
    """Of one picture's logits, two at least."""
    order = sorted(range(len(values)), key=values.__getitem__, reverse=True)
    first = order[0]
    lows = _ends(values[first], radii[first])[0]
    highs = {number: _ends(values[number], radii[number])[1] for number in order[1:]}
    nearest = max(highs, key=lambda number: mp.make_mpf(highs[number]))
    margin = mp.make_mpf(mpf_sub(lows, highs[nearest]))
    return FirstClass(first, nearest, margin, bool(margin > 0))


def softmax_enclosure(values: Objects, radii: Objects, bits: int) -> tuple[Objects, Objects]:
    """Lower and upper bounds of exp(x_k) / sum exp(x_j) for all logits in their balls, rounded outwards to `bits`.

    1 / (1 + sum over j != k of exp(x_j - x_k)) falls with each x_j and grows with x_k, so the ends of the balls give
    its ends. Every operation is rounded towards the side of its bound.
    """
    ends = [_ends(value, radius) for value, radius in zip(values, radii, strict=True)]
    top = max(mp.make_mpf(high) for _, high in ends)._mpf_
    working = bits + GUARD_BITS
    low = [_exp(mpf_sub(low, top), working, "f") for low, _ in ends]
    high = [_exp(mpf_sub(high, top), working, "c") for _, high in ends]
    sums = {"f": _sum(low, working, "f"), "c": _sum(high, working, "c")}
    bounds = []
    for least, most in zip(low, high, strict=True):
        others_most = mpf_sub(sums["c"], most, working, "c")
        others_least = mpf_sub(sums["f"], least, working, "f")
        lower = mpf_div(least, mpf_add(least, others_most, working, "c"), bits, "f")
        upper = mpf_div(most, mpf_add(most, others_least, working, "f"), bits, "c")
        bounds.append((mp.make_mpf(lower), mp.make_mpf(upper if mpf_le(upper, mpf(1)._mpf_) else mpf(1)._mpf_)))
    lowers, uppers = zip(*bounds, strict=True)
    return np.array(lowers, object), np.array(uppers, object)


def _exp(x: RawMpf, working: int, rounding: str) -> RawMpf:
    """A bound of exp(x): mpmath's, moved outwards by far more than the last bit that mpmath answers for."""
    slack = from_man_exp(-1 if rounding == "f" else 1, 8 - working)
    return mpf_mul(mpf_exp(x, working, rounding), mpf_add(mpf(1)._mpf_, slack), working, rounding)


def _sum(numbers: list[RawMpf], working: int, rounding: str) -> RawMpf:
    total = mpf(0)._mpf_
    for number in numbers:
        total = mpf_add(total, number, working, rounding)
    return total


def log2_of(x: mpf) -> float:
    """log2 |x| in float64, whatever its exponent; x is not 0."""
    _, mantissa, exponent, _ = x._mpf_
    return log2(int(mantissa)) + exponent


def _ends(value: mpf, radius: mpf) -> tuple[RawMpf, RawMpf]:
    """The ends of a ball, exactly."""
    return mpf_add(value._mpf_, mpf_neg(radius._mpf_)), mpf_add(value._mpf_, radius._mpf_)
