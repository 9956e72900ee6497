"""Kernels of BigFloats round once, and right: against mpmath.libmp, fractions and the plain engine."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from big_numbers import (
    BITS,
    array,
    exponents,
    fraction,
    nearest,
    numbers,
    raw,
    raws,
    rounded_product_sum,
    rounded_sum,
    rounded_wide_sum,
    significands,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from mpmath.libmp import from_float, mpf_cmp, mpf_mul, mpf_neg, mpf_pos

from refnet.arithmetic.big_floats import BigFloats
from refnet.errors import InputError
from refnet.forward.multiprecision import MultiprecisionEngine
from refnet.graph import BATCH_NORM_EPSILON
from refnet.kernels import big_elementwise as big
from refnet.kernels.big_pooling import FAR, max_pool, mean_pool, pad
from refnet.kernels.big_to_floats import to_double_double, to_floats

EVERY_PRECISION = pytest.mark.parametrize("bits", BITS)
many = settings(max_examples=100)
few = settings(max_examples=40)


def lists(bits: int, size: int) -> st.SearchStrategy[Any]:
    return st.lists(numbers(bits), min_size=size, max_size=size)


def close_pairs(bits: int) -> st.SearchStrategy[Any]:
    """Two numbers of other signs that leave nothing, an ulp or a few ulps when added."""

    def pair(parts: Any) -> Any:
        integer, exponent, ulps, halved = parts
        other = min(max(integer + ulps, 1 << (bits - 1)), (1 << bits) - 1)
        if halved and integer == 1 << (bits - 1):
            return (integer, exponent), (-((1 << bits) - 1), exponent - 1)
        return (integer, exponent), (-other, exponent)

    return st.tuples(significands(bits), exponents(bits), st.integers(-2, 2), st.booleans()).map(pair)


def tie_pairs(bits: int) -> st.SearchStrategy[Any]:
    """Two numbers whose sum lies half-way between two others, or a little beside it."""

    def pair(parts: Any) -> Any:
        integer, exponent, sign, beside = parts
        half = (1 << (bits - 1)) + beside
        return (integer, exponent), (sign * half, exponent - bits)

    return st.tuples(significands(bits), exponents(bits), st.sampled_from([-1, 1]), st.integers(0, 1)).map(pair)


@EVERY_PRECISION
@many
@given(st.data())
def test_add_is_one_rounding(bits: int, data: st.DataObject) -> None:
    pairs = data.draw(
        st.lists(close_pairs(bits) | tie_pairs(bits) | st.tuples(numbers(bits), numbers(bits)), min_size=1, max_size=8)
    )
    x, y = (array([pair[place] for pair in pairs], bits) for place in (0, 1))
    wanted = [rounded_sum(raw(a), raw(b), bits) for a, b in pairs]
    assert raws(big.add(x, y)) == wanted
    assert raws(big.add(y, x)) == wanted


@EVERY_PRECISION
@pytest.mark.parametrize("distance", [0, 1, 63, 64, 65, 127, 128, 129, 192, 10**6, -1, -2, 1 << 59])
def test_add_at_every_distance(bits: int, distance: int) -> None:
    """The least and the largest significands, of both signs, so far apart, and so far from just below the last bit."""
    extremes = [1 << (bits - 1), (1 << (bits - 1)) + 1, (1 << bits) - 1]
    starts = [0, bits - 1, bits, bits + 1, bits + 2]
    pairs = [
        ((a, 0), (sign * b, -distance - start))
        for a, b, sign, start in itertools.product(extremes, extremes, (-1, 1), starts)
    ]
    sums = big.add(*(array([pair[place] for pair in pairs], bits) for place in (0, 1)))
    assert raws(sums) == [rounded_sum(raw(a), raw(b), bits) for a, b in pairs]


@pytest.mark.parametrize("bits", [2, 3, 4])
def test_add_and_scale_of_every_small_number(bits: int) -> None:
    every = [(sign * m, e) for m in range(1 << (bits - 1), 1 << bits) for e in range(-7, 8) for sign in (-1, 1)]
    for y in [(0, 0), (1 << (bits - 1), 0), (-(1 << bits) + 1, 1)]:
        vector = array([y], bits)
        sums = big.add(array(every, bits, (-1, 1)), vector)
        assert raws(sums) == [nearest(fraction(x) + fraction(y), bits) for x in every]
        s = (-(1 << bits) + 1, -3)
        scaled = big.scale_shift(array(every, bits, (-1, 1)), array([s], bits), vector)
        assert raws(scaled) == [nearest(fraction(x) * fraction(s) + fraction(y), bits) for x in every]


def test_the_judge_of_wide_sums_rounds_once() -> None:
    """Numbers just below a tie, which a far smaller one may lift above it: there mpmath's own rounded sum errs."""
    bits, errors = 128, 0
    for below, distance in itertools.product(range(1, 40), range(100, 140)):
        wide, small = ((3 << 2 * bits - 2) + (1 << bits - 1) - below, 0), ((1 << bits) - 1, -distance)
        exact = nearest(fraction(wide) + fraction(small), bits)
        assert rounded_wide_sum(raw(wide), raw(small), bits) == exact
        errors += rounded_sum(raw(wide), raw(small), bits) != exact
    assert errors


@EVERY_PRECISION
@many
@given(st.data())
def test_scale_shift_is_one_rounding(bits: int, data: st.DataObject) -> None:
    x, s, t = data.draw(lists(bits, 6)), data.draw(lists(bits, 2)), data.draw(lists(bits, 2))
    y = big.scale_shift(array(x, bits, (3, 2)), array(s, bits), array(t, bits))
    assert raws(y) == [
        rounded_product_sum(raw(x[place]), raw(s[place % 2]), raw(t[place % 2]), bits) for place in range(6)
    ]


@EVERY_PRECISION
@many
@given(st.data())
def test_scale_shift_that_cancels(bits: int, data: st.DataObject) -> None:
    """t is -RN(x s), give or take an ulp: what is left lies in the lower half of the product."""
    x, s = (data.draw(st.tuples(significands(bits), exponents(bits))) for _ in range(2))
    product = BigFloats.from_integers([-x[0] * s[0]], x[1] + s[1], bits)
    t = raws(product)[0]
    t = data.draw(st.sampled_from([t, mpf_neg(raw((-(-t[1] | 1) << 1, t[2] - 1)))]))
    shift = BigFloats.from_raw([t], bits)
    y = big.scale_shift(array([x], bits), array([s], bits), shift)
    assert raws(y) == [rounded_product_sum(raw(x), raw(s), raws(shift)[0], bits)]


@EVERY_PRECISION
@many
@given(st.data())
def test_rounded_is_one_rounding_of_the_sum_with_the_bias(bits: int, data: st.DataObject) -> None:
    width = data.draw(st.integers(1, 2 * -(-bits // 64) + 1))
    top = (1 << 64 * width) - 1
    integers = st.one_of(
        st.integers(-top, top), st.sampled_from([0, 1, -1, top, -top, top - 1, top >> 1, (top >> 1) + 1])
    )
    drawn = data.draw(st.lists(integers, min_size=6, max_size=6))
    rows = data.draw(st.lists(exponents(bits), min_size=3, max_size=3))
    bias = data.draw(st.none() | lists(bits, 2))
    signs = np.sign(np.array(drawn, object)).astype(np.int8).reshape(3, 2)
    limbs = np.array([[abs(i) >> (64 * p) & (2**64 - 1) for p in range(width)] for i in drawn], np.uint64)
    y = big.rounded(
        signs, limbs.reshape(3, 2, width), np.array(rows), bits, bias=None if bias is None else array(bias, bits)
    )
    shifts = [(0, 0)] * 2 if bias is None else bias
    assert raws(y) == [
        rounded_sum(raw((integer, rows[place // 2])), raw(shifts[place % 2]), bits)
        for place, integer in enumerate(drawn)
    ]


@EVERY_PRECISION
def test_rounded_carries_through_all_limbs(bits: int) -> None:
    """0xFFFF... and half an ulp: the carry runs through every limb to the next power of two, an odd tie too."""
    for extra in (1, 2, 63, 64, 65, 200):
        ones, half = ((1 << bits) - 1) << extra, 1 << (extra - 1)
        integers = [ones + half, ones + half - 1, ones - half, ones + half + 1]
        width = -(-(bits + extra) // 64)
        limbs = np.array([[i >> (64 * p) & (2**64 - 1) for p in range(width)] for i in integers], np.uint64)
        y = big.rounded(np.ones(4, np.int8), limbs, 5, bits)
        assert raws(y) == [rounded_sum(raw((integer, 5)), raw((0, 0)), bits) for integer in integers]


@EVERY_PRECISION
@few
@given(st.data())
def test_order_relu_and_max_pool(bits: int, data: st.DataObject) -> None:
    x, y = data.draw(lists(bits, 12)), data.draw(lists(bits, 12))
    for place in data.draw(st.sets(st.integers(0, 11))):
        y[place] = x[place]
    left, right = array(x, bits), array(y, bits)
    wanted = [mpf_cmp(raw(a), raw(b)) for a, b in zip(x, y, strict=True)]
    assert big.order_of(left, right).tolist() == [(order > 0) - (order < 0) for order in wanted]
    assert raws(big.relu(left)) == [raw(number) if number[0] > 0 else raw((0, 0)) for number in x]
    pooled = max_pool(left.reshape(1, 3, 4, 1), size=(2, 2), strides=(1, 2))
    windows = [[4 * i + j + k for k in (0, 1, 4, 5)] for i in (0, 1) for j in (0, 2)]
    assert raws(pooled) == [raw(max((x[place] for place in window), key=_sortable)) for window in windows]


def _sortable(number: Any) -> Any:
    integer, exponent = number
    sign = (integer > 0) - (integer < 0)
    return sign, sign * exponent, integer


@EVERY_PRECISION
@few
@given(st.data())
def test_mean_pool_is_one_rounding(bits: int, data: st.DataObject) -> None:
    """Terms up to 10^6 bits apart, which goes the way of Python's integers; cancellation; ties where terms = 2."""
    height, width = data.draw(st.sampled_from([(1, 1), (1, 2), (3, 1), (7, 1), (2, 3)]))
    terms = height * width
    pairs = st.lists(close_pairs(bits) | tie_pairs(bits), min_size=terms, max_size=terms)
    near = pairs.map(lambda drawn: [number for pair in drawn for number in pair][:terms])
    columns = [[(m, e if abs(e) < 1 << 50 else 0) for m, e in data.draw(lists(bits, terms) | near)] for _ in range(2)]
    x = array([column[k] for k in range(terms) for column in columns], bits, (1, height, width, 2))
    assert raws(mean_pool(x)) == [nearest_mean(column, bits) for column in columns]


def nearest_mean(column: list[Any], bits: int) -> Any:
    """RN(sum / length): the quotient with more bits than are kept, its last bit odd where it is not exact."""
    low = min(exponent for _, exponent in column)
    total = sum(integer << (exponent - low) for integer, exponent in column) << (bits + 40)
    quotient, remainder = divmod(abs(total), len(column))
    sign = -1 if total < 0 else 1
    return mpf_pos(raw((sign * (2 * quotient + (remainder > 0)), low - bits - 41)), bits, "n")


@EVERY_PRECISION
@pytest.mark.parametrize("distance", [FAR - 4000, FAR, FAR + 1, 10**9, 1 << 59])
def test_mean_pool_of_terms_far_apart(bits: int, distance: int) -> None:
    """Two terms whose mean is a tie are pulled off it by a third, whatever its distance; and by one behind that."""
    top, three = 1 << (bits - 1), 3 << (bits - 2)
    odd_tie = [(top | 1, bits), (top, 0)]  # the sum ends in half an ulp beside an odd last bit ...
    for sign in (-1, 1):
        columns = [
            [*odd_tie, (sign * top, -distance), (0, 0)],
            [*odd_tie, (0, 0), (0, 0)],
            [(three, 0), (-three, 0), (sign * top, -distance), (-sign * top, -2 * distance)],
            [*odd_tie, (sign * three, -distance), (-sign * three, -distance)],
        ]
        x = array([column[k] for k in range(4) for column in columns], bits, (1, 2, 2, 4))
        up, down, even = ((top + ulps, bits - 2) for ulps in (2, 1, 2))  # ... which is even above
        far_from_power = rounded_sum(raw((sign * top, -distance - 2)), raw((-sign * top, -2 * distance - 2)), bits)
        assert raws(mean_pool(x)) == [raw(up if sign > 0 else down), raw(even), far_from_power, raw(even)]


@EVERY_PRECISION
@few
@given(st.data())
def test_to_floats_and_double_double(bits: int, data: st.DataObject) -> None:
    """Python divides integers with one rounding, subnormals included."""
    parts = data.draw(st.tuples(st.sampled_from([-1, 1]), significands(bits)))
    integer, exponent = parts[0] * parts[1], data.draw(st.integers(-1200 - bits, 960 - bits))
    value = Fraction(integer) * Fraction(2) ** exponent
    x = array([(integer, exponent), (0, 0)], bits)
    wanted = value.numerator / value.denominator
    assert to_floats(x).tolist() == [wanted, 0]
    pair, cut = to_double_double(x)
    rest = value - Fraction(wanted)
    assert pair.hi.tolist() == [wanted, 0]
    assert pair.lo.tolist() == [rest.numerator / rest.denominator, 0]
    left = abs(rest - Fraction(float(pair.lo[0])))
    assert cut[1] == 0 and left <= Fraction(float(cut[0])) <= left * (1 + Fraction(1, 1 << 50)) + Fraction(1, 1 << 1073)
    assert (cut[0] == 0) == (left == 0)


def test_to_floats_beyond_its_range() -> None:
    x = array([(1 << 168, 10**9), (-(1 << 168), 856), ((1 << 169) - 1, 855), (1 << 168, -(10**9))], 169)
    assert to_floats(x).tolist() == [math.inf, -math.inf, math.inf, 0.0]
    with pytest.raises(InputError, match="2\\^1024"):
        to_double_double(x)


@pytest.mark.parametrize("digits", [15, 50, 200])
@few
@given(st.integers(0, 2**32 - 1))
def test_operations_are_those_of_the_plain_engine(digits: int, seed: int) -> None:
    """Batch normalisation, ReLU, addition, pools and padding, each fed with the same numbers."""
    plain, random = MultiprecisionEngine.of_digits(digits), np.random.default_rng(seed)
    bits = plain.precision
    shape = (2, 5, 4, 3)
    values = [random.normal(size=shape) * 2.0 ** random.integers(-40, 40, shape) for _ in range(2)]
    gamma, beta, mean, variance = (random.normal(size=3).astype(np.float32) for _ in range(4))
    variance = np.abs(variance)
    inputs, others = (plain.storage(value) for value in values)
    x, y = (BigFloats.from_floats(value, bits) for value in values)
    same(plain, inputs, x)
    normal = plain.batch_norm(inputs, gamma, beta, mean, variance, epsilon=BATCH_NORM_EPSILON)
    s = [plain._scale(*pair, BATCH_NORM_EPSILON) for pair in zip(gamma.tolist(), variance.tolist(), strict=True)]
    t = [
        rounded_wide_sum(from_float(b), mpf_neg(mpf_mul(from_float(m), k)), bits)
        for b, m, k in zip(beta, mean, s, strict=True)
    ]
    normal_fast = big.scale_shift(x, BigFloats.from_raw(s, bits), BigFloats.from_raw(t, bits))
    same(plain, normal, normal_fast)
    total, total_fast = plain.add(normal, others), big.add(normal_fast, y)
    same(plain, total, total_fast)
    same(plain, plain.relu(total), big.relu(total_fast))
    padding = ((1, 2), (0, 1))
    padded, padded_fast = plain.pad(plain.relu(total), padding), pad(big.relu(total_fast), padding)
    same(plain, padded, padded_fast)
    same(plain, plain.max_pool(padded, size=(3, 3), strides=(2, 2)), max_pool(padded_fast, size=(3, 3), strides=(2, 2)))
    same(plain, plain.mean_pool(total), mean_pool(total_fast))


def same(plain: MultiprecisionEngine, x: Any, y: BigFloats) -> None:
    """The same exact numbers from both."""
    assert x.integers.shape == y.shape
    assert [number._mpf_ for number in plain.export(x).ravel()] == raws(y)


def test_threads_and_views_change_no_bit() -> None:
    random = np.random.default_rng(5)
    x = BigFloats.from_floats(random.normal(size=(3, 40000)), 169)
    y = BigFloats.from_floats(random.normal(size=(40000,)), 169)
    scaled = big.scale_shift(x, y, y)
    assert big.scale_shift(x, y, y, threads=2) == scaled
    assert big.scale_shift(x[:, ::2], y[::2], y[::2]) == scaled[:, ::2]
    assert big.add(x[1:], y, threads=2) == big.add(x, y)[1:]


def test_inputs_may_be_read_only_and_stay_as_they_are() -> None:
    x = BigFloats.from_floats(np.linspace(-2, 2, 24).reshape(1, 4, 3, 2), 128)
    for plane in (x.signs, x.significands, x.exponents):
        plane.flags.writeable = False
    vector = x[0, 0, 0]
    results = [big.add(x, x), big.relu(x), big.scale_shift(x, vector, vector), mean_pool(x)]
    assert all(result.bits == 128 for result in results)
    assert x == BigFloats.from_floats(np.linspace(-2, 2, 24).reshape(1, 4, 3, 2), 128)


def test_what_does_not_fit_is_told() -> None:
    x, y = BigFloats.zeros((2, 3), 64), BigFloats.zeros((2, 3), 65)
    for wrong in (
        lambda: big.add(x, y),
        lambda: big.add(x, x[:, :2]),
        lambda: big.scale_shift(x, x[0], x),
        lambda: big.order_of(x, y),
        lambda: big.rounded(x.signs, x.significands[0], 0, 64),
        lambda: big.rounded(x.signs.astype(np.int64), x.significands, 0, 64),
        lambda: big.rounded(x.signs, x.significands, 0, 64, bias=y[0]),
    ):
        with pytest.raises(InputError, match="expected"):
            wrong()
