"""BigFloats hold what they are given, rounded once; their limbs' arithmetic is that of Python's integers."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import mpmath
import numpy as np
import pytest
from big_numbers import BITS, array, fraction, nearest, numbers, raw, raws
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from mpmath import mp, mpf
from mpmath.libmp import finf, fnan, mpf_pos

from refnet.arithmetic.big_floats import BigFloats
from refnet.errors import InputError
from refnet.forward.multiprecision import MultiprecisionEngine
from refnet.kernels.jit import kernel
from refnet.kernels.limbs import add_carry, add_product, funnel_left, leading_zeros, mul_wide

EVERY_PRECISION = pytest.mark.parametrize("bits", [2, 11, *BITS])
few = settings(max_examples=50)

LIMB = st.integers(0, 2**64 - 1) | st.sampled_from([0, 1, 2**32, 2**63, 2**64 - 1])
WORD = 2**64


@kernel
def every_limb_operation(a: int, b: int, c: int, bit: int, shift: int) -> Any:
    """The results of all intrinsics, one after another."""
    product, total = mul_wide(a, b), add_carry(a, b, bit)
    return product, total, add_product(a, b, c, b, c), funnel_left(a, b, shift), leading_zeros(a)


@few
@given(LIMB, LIMB, st.integers(0, 2**62), st.integers(0, 1), st.integers(0, 63))
def test_limbs_count_as_integers_do(a: int, b: int, c: int, bit: int, shift: int) -> None:
    product, total, long_sum, shifted, zeros = every_limb_operation(*(np.uint64(x) for x in (a, b, c, bit, shift)))
    assert product == divmod(a * b, WORD)
    assert total == ((a + b + bit) % WORD, (a + b + bit) // WORD)
    assert sum(limb << (64 * place) for place, limb in enumerate(long_sum)) == a + b * WORD + c * WORD**2 + b * c
    assert shifted == ((a * WORD + b) << shift) // WORD % WORD
    assert zeros == 64 - a.bit_length()


@EVERY_PRECISION
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@few
@given(st.data())
def test_floats_enter_with_one_rounding(bits: int, dtype: Any, data: st.DataObject) -> None:
    word = np.dtype(f"u{np.dtype(dtype).itemsize}")
    magnitudes = arrays(word, (2, 3), elements=st.integers(0, int(np.array(np.inf, dtype).view(word)) - 1))
    signs = data.draw(arrays(dtype, (2, 3), elements=st.sampled_from([-1, 1])))
    x = signs * data.draw(magnitudes).view(dtype)
    big = BigFloats.from_floats(x, bits)
    assert big.shape == (2, 3)
    assert raws(big) == [nearest(Fraction(number), bits) for number in x.ravel().tolist()]


@pytest.mark.parametrize("bits", [3, 24, 52, 53])
def test_ties_of_floats_go_to_even(bits: int) -> None:
    odd, even = (2 ** (bits - 1) + last for last in (1, 0))
    x = np.array([odd + 0.5, even + 0.5, 2**bits - 0.5, -odd - 0.5])
    if bits < 53:
        assert raws(BigFloats.from_floats(x, bits)) == [
            raw((n, 0)) for n in (odd + 1, even, 2**bits, -odd - 1)
        ]  # the third carries into the next power of two


@pytest.mark.parametrize("digits", [15, 50, 200])
def test_storage_is_that_of_the_plain_engine(digits: int) -> None:
    plain = MultiprecisionEngine.of_digits(digits)
    x = np.random.default_rng(1).normal(size=(3, 5)) * 2.0 ** np.arange(-1070, 1000, 450)
    x[0, :2] = 0, 5e-324
    wanted = [number._mpf_ for number in plain.export(plain.storage(x)).ravel()]
    assert raws(BigFloats.from_floats(x, plain.precision)) == wanted


@EVERY_PRECISION
@few
@given(st.data())
def test_raw_numbers_enter_with_one_rounding(bits: int, data: st.DataObject) -> None:
    """Numbers of more, of as many and of fewer bits."""
    other = data.draw(st.sampled_from([2, bits, bits + 1, bits + 64, 2 * bits + 3]))
    parts = data.draw(st.lists(numbers(other), max_size=6))
    wanted = [mpf_pos(raw(part), bits, "n") for part in parts]
    assert raws(BigFloats.from_raw((raw(part) for part in parts), bits)) == wanted
    assert raws(BigFloats.from_mpf([mp.make_mpf(raw(part)) for part in parts], bits)) == wanted
    integers = [part[0] for part in parts]
    assert raws(BigFloats.from_integers(integers, -7, bits)) == [mpf_pos(raw((m, -7)), bits, "n") for m in integers]


@EVERY_PRECISION
@few
@given(st.data())
def test_exact_numbers_come_back(bits: int, data: st.DataObject) -> None:
    parts = data.draw(st.lists(numbers(bits), min_size=6, max_size=6))
    x = array(parts, bits, (2, 3))
    with mpmath.workprec(5):  # which plays no part
        assert [number._mpf_ for number in x.to_mpf().ravel()] == [raw(part) for part in parts]
        assert [x[i, j]._mpf_ for i in (0, 1) for j in (0, 1, 2)] == [raw(part) for part in parts]
    assert BigFloats.from_mpf(x.to_mpf(), bits) == x
    assert x.widened(2 * bits + 3) == x
    assert raws(x.widened(bits + 64)) == [raw(part) for part in parts]


def test_indexing_is_that_of_numpy() -> None:
    values = np.arange(-30, 30).reshape(3, 4, 5)
    x = BigFloats.from_floats(values.astype(np.float64), 169)
    for index in (0, -1, (1, 2), (..., 0), (slice(None), 2), (slice(None, None, -2), ..., slice(1, 3)), values > 3):
        assert x[index] == BigFloats.from_floats(values[index].astype(np.float64), 169), index
    assert x[2, -1, 4] == 29 and isinstance(x[2, -1, 4], mpf)
    assert (len(x), x.shape, x.ndim, x.size, x.limbs, x.nbytes) == (3, (3, 4, 5), 3, 60, 3, 60 * 33)
    assert np.shares_memory(x[1:, ::2].significands, x.significands)
    assert x.reshape(-1, 5).shape == (12, 5) and x.reshape(60)[17] == -13
    assert x[:, ::2, 1][1, 0] == -9 and x[:, ::2].reshape(-1)[-1] == 24
    assert BigFloats.from_floats(np.float64(0.1), 53)[()] == mpf(0.1)
    with pytest.raises(IndexError):
        x[3]


def test_equality_is_that_of_exact_values() -> None:
    x = BigFloats.from_floats(np.array([1.5, -0.0, 3.0]), 53)
    assert x == BigFloats.from_floats(np.array([1.5, 0.0, 3.0]), 169)
    assert x != BigFloats.from_floats(np.array([1.5, 0.0, -3.0]), 53)
    assert x != x[:2] and x != x.reshape(3, 1) and x != "x"
    tenth = np.array([0.1])
    assert BigFloats.from_floats(tenth, 24) != BigFloats.from_floats(tenth, 53)


def test_the_judge_of_rounding_agrees_with_mpmath() -> None:
    for number in [(7, 0), (5, -1), (2**70 - 1, 3), (-(2**65) - 1, 10), (0, 0)]:
        assert nearest(fraction(number), 3) == mpf_pos(raw(number), 3, "n")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_are_refused(bad: float) -> None:
    with pytest.raises(InputError, match="NaN or infinity"):
        BigFloats.from_floats(np.array([1.0, bad]), 64)
    with pytest.raises(InputError, match="NaN or infinity"):
        BigFloats.from_mpf([mpf(bad)], 64)


def test_what_is_no_array_of_numbers_is_refused() -> None:
    x = BigFloats.zeros((2, 3), 100)
    apart = np.zeros((2, 3, 4), np.uint64)[..., ::2]
    for planes, bits in [
        ((x.signs, x.significands, x.exponents), 1),
        ((x.signs, x.significands, x.exponents), 200),
        ((x.signs.astype(np.int64), x.significands, x.exponents), 100),
        ((x.signs, x.significands, x.exponents[0]), 100),
        ((x.signs, x.significands.astype(np.int64), x.exponents), 100),
        ((x.signs, apart, x.exponents), 100),
    ]:
        with pytest.raises(InputError, match="expected"):
            BigFloats(*planes, bits)
    for call in (
        lambda: x.widened(99),
        lambda: BigFloats.from_raw([raw((1, 1 << 61))], 64),
        lambda: BigFloats.from_raw([finf], 64),
        lambda: BigFloats.from_raw([fnan], 64),
    ):
        with pytest.raises(InputError, match="expected"):
            call()
