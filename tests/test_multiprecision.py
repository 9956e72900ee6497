"""mpN is its definition: one rounding to p bits of the exact value, shown again with fractions and with FLINT."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction
from typing import Any

import mpmath
import numpy as np
import pytest
from flint import arb, ctx
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from refnet.errors import InputError
from refnet.forward.multiprecision import GUARD_BITS, MultiprecisionEngine
from refnet.forward.scaled import Scaled, from_floats
from refnet.graph import BATCH_NORM_EPSILON

DIGITS = [3, 15, 50]  # fewer bits than float32 has, as many as float64, more than both
few = settings(max_examples=25, deadline=None)
EVERY_PRECISION = pytest.mark.parametrize("digits", DIGITS)


def floats(shape: Any, dtype: Any = np.float32, **limits: Any) -> st.SearchStrategy[Any]:
    limits = {"allow_nan": False, "allow_infinity": False, "width": 8 * np.dtype(dtype).itemsize} | limits
    return arrays(dtype, shape, elements=st.floats(**limits) | st.integers(-4, 4).map(float))


def rn(x: Fraction, bits: int) -> Fraction:
    if not x:
        return x
    exponent = math.floor(math.log2(abs(x.numerator)) - math.log2(x.denominator))  # about right is enough to start
    while abs(x) >= Fraction(2) ** (exponent + 1):
        exponent += 1
    while abs(x) < Fraction(2) ** exponent:
        exponent -= 1
    spacing = Fraction(2) ** (exponent - bits + 1)
    return round(x / spacing) * spacing


def exact(x: Any) -> Any:
    """An array of fractions from floats or from what an engine gives its users."""
    return np.frompyfunc(_fraction, 1, 1)(np.asarray(x))


def _fraction(x: Any) -> Fraction:
    if not isinstance(x, mpmath.mpf):
        return Fraction(float(x))
    sign, mantissa, exponent, _ = x._mpf_
    return Fraction(-int(mantissa) if sign else int(mantissa)) * Fraction(2) ** int(exponent)


def made(engine: MultiprecisionEngine, x: Any) -> Any:
    """What enters the operation: the input rounded to storage, as fractions."""
    return np.frompyfunc(rn, 2, 1)(exact(x), engine.precision)


def exported(engine: MultiprecisionEngine, x: Any) -> list[Any]:
    return exact(engine.export(x)).tolist()


@EVERY_PRECISION
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@few
@given(st.data())
def test_storage_rounds_once(digits: int, dtype: Any, data: st.DataObject) -> None:
    engine, x = MultiprecisionEngine.of_digits(digits), data.draw(floats((2, 3), dtype))
    assert exported(engine, engine.storage(x)) == made(engine, x).tolist()
    stored = engine.storage(x)
    assert engine.storage(stored) is stored


@few
@given(floats((4,), np.float64))
def test_floats_are_taken_exactly(x: Any) -> None:
    assert exact(from_floats(x).to_mpf()).tolist() == [Fraction(number) for number in x.tolist()]


@EVERY_PRECISION
@pytest.mark.parametrize("strides", [(1, 1), (2, 1)])
@pytest.mark.parametrize("with_bias", [True, False])
@few
@given(st.data())
def test_convolution_is_one_rounding_of_the_sum(
    digits: int, strides: tuple[int, int], with_bias: bool, data: st.DataObject
) -> None:
    engine = MultiprecisionEngine.of_digits(digits)
    x, kernel, bias = (data.draw(floats(shape)) for shape in ((1, 3, 2, 2), (2, 1, 2, 2), (2,)))
    y = engine.conv2d(engine.storage(x), kernel, bias if with_bias else None, strides=strides, padding=((1, 0), (0, 1)))
    padded = np.full((4, 3, 2), Fraction(0), object)
    padded[1:, :2] = made(engine, x)[0]
    weights, offsets = made(engine, kernel), made(engine, bias)
    for (i, j), f in itertools.product(np.ndindex(y.integers.shape[1:3]), range(2)):
        window = padded[i * strides[0] : i * strides[0] + 2, j * strides[1] : j * strides[1] + 1]
        total = sum((window * weights[..., f]).ravel().tolist(), offsets[f] if with_bias else Fraction(0))
        assert exact(engine.export(y))[0, i, j, f] == rn(total, engine.precision)
    assert y.integers.shape == (1, (4 - 2) // strides[0] + 1, (3 - 1) // strides[1] + 1, 2)


@EVERY_PRECISION
@few
@given(st.data())
def test_dense_is_one_rounding_of_the_sum(digits: int, data: st.DataObject) -> None:
    engine = MultiprecisionEngine.of_digits(digits)
    x, kernel, bias = (data.draw(floats(shape)) for shape in ((2, 3), (3, 2), (2,)))
    expected = made(engine, x) @ made(engine, kernel) + made(engine, bias)
    y = engine.dense(engine.storage(x), kernel, bias)
    assert exported(engine, y) == [[rn(number, engine.precision) for number in row] for row in expected]


def test_no_small_term_is_lost_beside_large_ones() -> None:
    """2^100 + 2^-140 - 2^100, exponents far more than p = 169 bits apart: what a rounding sum would lose."""
    engine = MultiprecisionEngine.of_digits(50)
    x, kernel = np.array([[2.0**100, 2.0**-140, -(2.0**100)]], np.float32), np.ones((3, 1), np.float32)
    assert exported(engine, engine.dense(engine.storage(x), kernel, np.zeros(1, np.float32))) == [[Fraction(1, 2**140)]]


@EVERY_PRECISION
@few
@given(st.data())
def test_addition_and_mean_are_rounded_once(digits: int, data: st.DataObject) -> None:
    engine = MultiprecisionEngine.of_digits(digits)
    x, y = (data.draw(floats((1, 1, 3, 2))) for _ in range(2))
    left, right = engine.storage(x), engine.storage(y)
    total = made(engine, x) + made(engine, y)
    assert exported(engine, engine.add(left, right)) == np.frompyfunc(rn, 2, 1)(total, engine.precision).tolist()
    mean = made(engine, x).sum((1, 2)) / 3
    assert exported(engine, engine.mean_pool(left)) == np.frompyfunc(rn, 2, 1)(mean, engine.precision).tolist()


def root(x: Fraction, bits: int) -> Fraction:
    """RN(sqrt(x)): an integer square root with some bits to spare, half a unit more where it is not exact."""
    shift = 4 * bits + 2000
    square = x * 4**shift
    floor = math.isqrt(int(square))
    return rn(Fraction(2 * floor + (floor * floor != square), 2 ** (shift + 1)), bits)


@EVERY_PRECISION
@few
@given(st.data())
def test_batch_norm_follows_its_definition(digits: int, data: st.DataObject) -> None:
    engine = MultiprecisionEngine.of_digits(digits)
    p, working = engine.precision, engine.precision + GUARD_BITS
    x, gamma, beta, mean = (data.draw(floats(shape)) for shape in ((1, 1, 2, 2), (2,), (2,), (2,)))
    variance = data.draw(floats((2,), min_value=0))
    variance = np.abs(variance)
    y = engine.batch_norm(engine.storage(x), gamma, beta, mean, variance, epsilon=BATCH_NORM_EPSILON)
    for channel in range(2):
        g, b, m, v = (exact(vector)[channel] for vector in (gamma, beta, mean, variance))
        s = rn(rn(g / root(v + Fraction(BATCH_NORM_EPSILON), working), working), p)
        t = rn(b - m * s, p)
        expected = [rn(number * s + t, p) for number in made(engine, x)[0, 0, :, channel]]
        assert exact(engine.export(y))[0, 0, :, channel].tolist() == expected


@few
@given(floats((1, 5, 5, 1)))
def test_relu_and_max_pool_round_nothing(x: Any) -> None:
    engine = MultiprecisionEngine.of_digits(50)
    stored = engine.storage(x)
    assert exported(engine, engine.relu(stored)) == exact(np.maximum(x, 0)).tolist()
    pooled = engine.max_pool(stored, size=(3, 2), strides=(2, 3))
    expected = [[x[0, i : i + 3, j : j + 2, 0].max() for j in (0, 3)] for i in (0, 2)]
    assert exact(engine.export(pooled))[0, :, :, 0].tolist() == exact(np.array(expected)).tolist()


def test_padding_is_zeros() -> None:
    engine = MultiprecisionEngine.of_digits(50)
    x = np.arange(1, 5, dtype=np.float32).reshape(1, 2, 2, 1)
    padded = engine.export(engine.pad(engine.storage(x), ((1, 0), (2, 1)))).astype(float)
    assert (padded == np.pad(x, ((0, 0), (1, 0), (2, 1), (0, 0)))).all()


@EVERY_PRECISION
@few
@given(floats((2, 4), max_value=3000, min_value=-3000))
def test_softmax_agrees_with_flint(digits: int, x: Any) -> None:
    engine = MultiprecisionEngine.of_digits(digits)
    ctx.prec = 1200
    y = engine.softmax(engine.storage(x))
    for row, numbers in zip(engine.export(y), made(engine, x), strict=True):
        powers = [(arb(n.numerator) / arb(n.denominator)).exp() for n in numbers]
        for number, power in zip(row, powers, strict=True):
            true, ours = power / sum(powers), _fraction(number)
            error = abs(arb(ours.numerator) / arb(ours.denominator) - true)
            assert bool(error <= true * arb(2) ** -engine.precision * (1 + arb(2) ** -50))
            assert rn(ours, engine.precision) == ours


@EVERY_PRECISION
def test_mpmath_s_own_precision_plays_no_part(digits: int) -> None:
    engine, x = MultiprecisionEngine.of_digits(digits), np.linspace(-3, 3, 12, dtype=np.float32).reshape(1, 2, 2, 3)

    def everything() -> list[Any]:
        y = engine.batch_norm(engine.storage(x), *np.ones((4, 3), np.float32) / 3, epsilon=BATCH_NORM_EPSILON)
        y = engine.conv2d(y, x.reshape(2, 2, 3, 1), None, strides=(1, 1), padding=((1, 1), (1, 1)))
        return exported(engine, engine.softmax(engine.mean_pool(y))) + exported(engine, y)

    expected = everything()
    with mpmath.workdps(2):
        assert everything() == expected


def test_users_get_plain_mpf() -> None:
    engine = MultiprecisionEngine.of_digits(50)
    y = engine.export(engine.storage(np.array([[0.1]], np.float32)))
    assert y.dtype == object and type(y[0, 0]) is mpmath.mpf and y[0, 0] == mpmath.mpf(float(np.float32(0.1)))
    assert engine.precision == 169


def test_inputs_are_never_changed() -> None:
    engine, x = MultiprecisionEngine.of_digits(50), np.ones((1, 2, 2, 1), np.float32)
    x.flags.writeable = False
    stored = engine.storage(x)
    before = stored.integers.tolist()
    engine.relu(stored), engine.add(stored, stored), engine.pad(stored, ((1, 1), (1, 1)))
    assert stored.integers.tolist() == before


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite_are_refused(bad: float) -> None:
    with pytest.raises(InputError, match="NaN or infinity"):
        MultiprecisionEngine.of_digits(50).storage(np.array([1.0, bad]))


def test_a_variance_below_zero_and_no_digits_are_refused() -> None:
    one = np.ones(1, np.float32)
    with pytest.raises(InputError, match="variance of -1"):
        x = Scaled(np.ones((1, 1, 1, 1), object), 0)
        MultiprecisionEngine.of_digits(50).batch_norm(x, one, one, one, -one, epsilon=1e-5)
    with pytest.raises(InputError, match="digit"):
        MultiprecisionEngine.of_digits(0)


@pytest.mark.exhaustive
def test_float64_is_within_1e_12_of_the_whole_network_in_50_digits() -> None:
    """Relative to the largest logit: one that cancels to near zero keeps fewer digits of its own."""
    import refnet

    weights = refnet.load_weights("synthetic")
    x = np.random.default_rng(0).uniform(-100, 150, (1, 32, 32, 3)).astype(np.float32)
    true = refnet.predict(x, weights, precision="mp50", classifier_activation=None)
    float64 = refnet.predict(x, weights, precision="float64", classifier_activation=None)
    assert np.abs(float64 - true.astype(np.float64)).max() <= 1e-12 * np.abs(float64).max()
