"""What is proven of the logits: one rounding, the first class, bounds of the softmax."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import mpmath
import pytest
from big_numbers import nearest
from certificates import fraction, made, vector
from hypothesis import given, settings
from hypothesis import strategies as st

from refnet.certificate.logits import first_class, is_decided, log2_of, softmax_enclosure

some = settings(max_examples=60)


@settings(max_examples=300)
@given(
    st.integers(-(2**14), 2**14),  # of few bits, so that ties and powers of two are common
    st.integers(0, 40),
    st.integers(-12, 3),
    st.sampled_from([2, 5, 11, 53]),
)
def test_a_ball_is_decided_where_both_its_ends_have_one_nearest(
    value: int, radius: int, exponent: int, bits: int
) -> None:
    low, high = (Fraction(value) + side * radius * Fraction(2) ** exponent for side in (-1, 1))
    decided = is_decided(made(value, 0), made(radius, exponent), bits)
    assert decided == (nearest(low, bits) == nearest(high, bits))
    assert not decided or nearest((low + 2 * high) / 3, bits) == nearest(low, bits)


LOGITS = st.lists(
    st.tuples(st.integers(-(2**60), 2**60), st.integers(-58, -50), st.integers(0, 9), st.integers(-70, 4)),
    min_size=2,
    max_size=5,
)


@some
@given(LOGITS, st.data())
def test_a_certain_first_class_is_the_first_wherever_the_truth_lies(parts: Any, data: st.DataObject) -> None:
    values = vector([made(m, e) for m, e, _, _ in parts])
    radii = vector([made(m, e) for _, _, m, e in parts])
    first = first_class(values, radii)
    ends = [data.draw(st.sampled_from([-1, 0, 1])) for _ in parts]
    true = [fraction(v) + end * fraction(r) for v, r, end in zip(values, radii, ends, strict=True)]
    others = [x for number, x in enumerate(true) if number != first.number]
    assert fraction(first.margin) <= true[first.number] - max(others)
    assert first.certified == (first.margin > 0) and first.number != first.next
    lows = [fraction(v) - fraction(r) for v, r in zip(values, radii, strict=True)]
    highs = [fraction(v) + fraction(r) for v, r in zip(values, radii, strict=True)]
    tightest = lows[first.number] - max(high for number, high in enumerate(highs) if number != first.number)
    assert fraction(first.margin) == tightest


@pytest.mark.parametrize("bits", [5, 53, 200])
@some
@given(LOGITS, st.integers(0, 12))
def test_softmax_lies_within_its_bounds(bits: int, parts: Any, stretch: int) -> None:
    """The ends of the balls give the ends of each softmax; mpmath has five times as many bits."""
    values = vector([made(m, e + stretch) for m, e, _, _ in parts])
    radii = vector([made(m, e) for _, _, m, e in parts])
    lowers, uppers = softmax_enclosure(values, radii, bits)
    with mpmath.workprec(5 * bits + 400):
        for k, (lower, upper) in enumerate(zip(lowers, uppers, strict=True)):
            for side, bound in ((-1, lower), (1, upper)):
                own = values[k] + side * radii[k]
                others = [values[j] - side * radii[j] - own for j in range(len(values)) if j != k]
                true = 1 / (1 + mpmath.fsum(map(mpmath.exp, others)))
                assert side * (bound - true) >= 0 and 0 <= bound <= 1
                assert max(radii) > 1 or abs(bound - true) <= true * mpmath.mpf(2) ** (3 - bits)  # no wider than asked
                assert bound._mpf_[3] <= bits


def test_sizes_of_numbers_longer_than_a_float_can_hold() -> None:
    """With gmpy2 an mpf's mantissa is no Python integer, and its own way to a float has an end."""
    with mpmath.workprec(4000):
        number = mpmath.mpf(1) / 3
    assert log2_of(number) == pytest.approx(-math.log2(3))
    assert log2_of(number * mpmath.mpf(2) ** 5000) == pytest.approx(5000 - math.log2(3))
