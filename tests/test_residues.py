"""Residues and back: primes, remainders, conversions, held to Python's own integers."""

from __future__ import annotations

import random
from fractions import Fraction
from math import isqrt, prod

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from refnet.errors import InputError
from refnet.kernels.convolution import NO_PADDING, Epilogue, convolve, pack_kernel
from refnet.kernels.modulo import reduce_all
from refnet.kernels.packed_residues import limbs_of
from refnet.kernels.primes import EXACT, LARGEST_RESIDUE, largest_residue, primes_for
from refnet.kernels.reconstruct import integers_from
from refnet.kernels.residues import Limbs, Span, residues, span_of
from refnet.kernels.small_products import EXACTLY

TERMS = [1, 2, 49, 147, 576, 2048, 4608, 100_003, 10**6]


def is_prime(number: int) -> bool:
    return number > 1 and all(number % divisor for divisor in range(2, isqrt(number) + 1))


def numbers_of(values: list[int], exponents: list[int]) -> Limbs:
    """values[i] 2^exponents[i] as Limbs."""
    limbs = max(1, -(-max(abs(value).bit_length() for value in values) // 64))
    words = [[abs(value) >> (64 * limb) & (2**64 - 1) for limb in range(limbs)] for value in values]
    signs = np.array([(value > 0) - (value < 0) for value in values], np.int8)
    return Limbs(signs, np.array(words, np.uint64), np.array(exponents, np.int64))


def balanced(value: int, p: int) -> int:
    return (value + p // 2) % p - p // 2


def check_residues(result: np.ndarray, integers: list[int], primes: tuple[int, ...]) -> None:
    """Each residue is congruent to its integer and as small as is promised."""
    assert result.dtype == np.float32 and result.shape == (len(primes), len(integers))
    for p, row in zip(primes, result.tolist(), strict=True):
        for r, integer in zip(row, integers, strict=True):
            assert r == int(r) and (int(r) - integer) % p == 0 and abs(r) <= (p + 1) // 2, (p, r, integer)


# ---- primes


@pytest.mark.parametrize("terms", TERMS)
@pytest.mark.parametrize("bits", [1, 60, 265, 3500])
def test_primes_keep_every_sum_exact_and_are_enough(terms: int, bits: int) -> None:
    residue = largest_residue(terms)
    primes = primes_for(bits, residue)
    assert all(map(is_prime, primes)) and list(primes) == sorted(set(primes), reverse=True)
    assert terms * ((primes[0] + 1) // 2) ** 2 <= EXACT and (primes[0] + 1) // 2 <= LARGEST_RESIDUE < 2**24
    assert prod(primes) >= 2**bits > prod(primes[:-1])


def test_primes_are_the_largest_ones() -> None:
    residue = largest_residue(4608)
    primes = primes_for(400, residue)
    assert primes == tuple(filter(is_prime, range(2 * residue - 1, primes[-1] - 1, -1)))


def test_primes_run_out_with_a_clear_word() -> None:
    with pytest.raises(InputError, match="split the sums"):
        primes_for(400, 20)


# ---- remainders


@given(st.integers(-EXACT, EXACT), st.sampled_from([5, 7, 189_799, 2_796_181, 33_554_393]))
def test_one_remainder_takes_all_of_53_bits(x: int, p: int) -> None:
    result = np.empty(1)
    reduce_all(np.array([float(x)]), p, 53, result, 1)
    assert (int(result[0]) - x) % p == 0 and abs(result[0]) <= (p + 1) // 2


@given(st.integers(-EXACT, EXACT), st.integers(0, 800), st.sampled_from([5, 189_799, 2_796_181, 33_554_393]))
def test_long_floats_are_reduced_step_by_step(x: int, shift: int, p: int) -> None:
    result = np.empty(1)
    reduce_all(np.array([float(x << shift)]), p, 53 + shift + 1, result, 1)
    assert (int(result[0]) - (x << shift)) % p == 0 and abs(result[0]) <= (p + 1) // 2


@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize("terms", [1, 64, 4608])
def test_the_tiles_remainder_is_right_just_below_two_to_the_53(terms: int, sign: int) -> None:
    """Adversarial residues: all (p + 1) / 2 in size, with one sign, so that partial sums are as large as they get."""
    p = primes_for(1, largest_residue(terms))[0]
    largest = (p + 1) // 2
    x, w = np.full((1, 5, 5, terms), largest, np.float32), np.full((1, 1, terms, 21), float(sign * largest))
    epilogue = Epilogue("modulo", (np.full(21, 1 / p), np.full(21, float(p))))
    how = {"strides": (1, 1), "padding": NO_PADDING, "arithmetic": EXACTLY, "threads": 2, "epilogue": epilogue}
    y = convolve(x, pack_kernel(w, EXACTLY), None, **how)
    exact = sign * terms * largest**2
    assert abs(exact) > 0.99 * EXACT or terms == 1
    assert ((y.astype(np.int64) - exact % p) % p == 0).all() and np.abs(y).max() <= largest


# ---- conversions


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(st.integers(-(2**700), 2**700), st.integers(-90, 300)), min_size=1, max_size=40),
    st.sampled_from(TERMS),
)
def test_residues_of_limbs(pairs: list[tuple[int, int]], terms: int) -> None:
    values, exponents = [value for value, _ in pairs], [exponent if value else 0 for value, exponent in pairs]
    x = numbers_of(values, exponents)
    span = span_of(x)
    integers = [value << (e - span.lowest) if value else 0 for value, e in zip(values, exponents, strict=True)]
    assert all(abs(integer) < 1 << span.bits for integer in integers)
    primes = primes_for(300, largest_residue(terms))
    check_residues(residues(x, span, primes, 1), integers, primes)


@pytest.mark.parametrize("bits", [24, 64, 169, 3325])
@pytest.mark.parametrize("count", [1, 15, 16, 5000])
def test_residues_of_many_limbs_over_block_and_panel_ends(bits: int, count: int) -> None:
    source = random.Random(bits + count)
    values = [source.choice((-1, 0, 1)) * (source.getrandbits(bits) | 1 << (bits - 1)) for _ in range(count)]
    exponents = [source.randint(-60, 0) if value else 0 for value in values]
    x = numbers_of(values, exponents)
    span = span_of(x)
    primes = primes_for(100, largest_residue(4608))
    results = [residues(x, span, primes, threads) for threads in (1, 2)]
    assert (results[0] == results[1]).all()
    check_residues(results[0], [v << max(0, e - span.lowest) for v, e in zip(values, exponents, strict=True)], primes)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.floats(allow_nan=False, allow_infinity=False, width=32), min_size=1, max_size=30),
    st.sampled_from([np.float32, np.float64]),
)
def test_residues_of_floats(values: list[float], dtype: type[np.floating]) -> None:
    x = np.array(values, dtype)
    span = span_of(x)
    scale = Fraction(2) ** -span.lowest
    integers = [int(Fraction(value) * scale) for value in values]
    assert all(integer == Fraction(value) * scale for integer, value in zip(integers, values, strict=True))
    assert all(abs(integer) < 1 << span.bits for integer in integers)
    primes = primes_for(200, largest_residue(100))
    check_residues(residues(x, span, primes, 2), integers, primes)
    check_residues(residues(limbs_of(x), span, primes, 2), integers, primes)


def test_a_span_that_does_not_hold_the_numbers_is_refused() -> None:
    x = numbers_of([1, 3], [0, -5])
    with pytest.raises(InputError, match="exponent"):
        residues(x, Span(0, 10), primes_for(100, largest_residue(4608)), 2)


def test_the_span_of_floats_is_as_narrow_as_it_can_be() -> None:
    assert span_of(np.array([0.0, 3.0, -0.5])) == Span(-1, 2)
    assert span_of(np.array([5e-324, -(2.0**1023)])) == Span(-1074, 1024)
    assert span_of(np.zeros(3)) == span_of(np.empty(0)) == Span(0, 0)
    assert span_of(numbers_of([0, 5, -(2**100)], [0, -3, 7])) == Span(-3, 108)
    for bad in (np.nan, np.inf, -np.inf):
        with pytest.raises(InputError, match="finite"):
            span_of(np.array([1.0, bad]))


# ---- reconstruction


@pytest.mark.parametrize("bits", [3, 20, 64, 66, 265, 3480])
@pytest.mark.parametrize("terms", [1, 4608, 10**6])
def test_integers_come_back_from_their_residues(bits: int, terms: int) -> None:
    primes = primes_for(bits, largest_residue(terms))
    limit = (prod(primes) - 1) // 4
    source = random.Random(bits)
    edges = [0, 1, -1, limit, -limit, limit - 1, 1 - limit, limit >> 1, *(2**k for k in (63, 64, 128) if 2**k < limit)]
    values = [
        *edges,
        *(-v for v in edges),
        *(source.randint(-limit, limit) >> source.randrange(bits) for _ in range(90)),
    ]
    limbs = -(-limit.bit_length() // 64)
    result = np.array([[balanced(value, p) for value in values] for p in primes], float)
    for threads in (1, 2):
        signs, words = integers_from(result, primes, limbs, threads)
        sizes = [int.from_bytes(row.astype("<u8").tobytes(), "little") for row in words]
        assert [int(sign) * size for sign, size in zip(signs, sizes, strict=True)] == values
        assert [int(sign) for sign in signs] == [(value > 0) - (value < 0) for value in values]


def test_residues_one_beyond_one_half_are_understood() -> None:
    """Rounded quotients may leave a residue of (p + 1) / 2, whose balanced form is (1 - p) / 2."""
    primes = primes_for(100, largest_residue(4608))
    result = np.array([[(p + 1) // 2, -(p + 1) // 2] for p in primes], float)
    signs, words = integers_from(result, primes, 2, 1)
    for column in range(2):
        value = int(signs[column]) * (int(words[column, 0]) + (int(words[column, 1]) << 64))
        if 4 * abs(value) < prod(primes):
            assert all((value - int(result[i, column])) % p == 0 for i, p in enumerate(primes))
