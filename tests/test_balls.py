"""Every true number stays in its ball: radii and the operations of BallEngine, judged by Python's fractions alone.

A true number is picked in each ball, at its ends most of the time, and the operation is done on it exactly.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from big_numbers import array
from drawn_balls import balls_of, inside, midpoint, of_big, of_float, of_floats, of_radii, radii_of
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from refnet.arithmetic.big_floats import BigFloats
from refnet.certificate.ball_engine import BallEngine, Balls
from refnet.certificate.layers import certified
from refnet.certificate.radii import FLOOR, Radii, magnitudes, roundoff, surely_reaches
from refnet.errors import InputError
from refnet.forward.big_engine import BigEngine
from refnet.forward.multiprecision import MultiprecisionEngine
from refnet.graph import BATCH_NORM_EPSILON

BITS = [64, 128]  # whole limbs, as certify has them
EVERY_PRECISION = pytest.mark.parametrize("bits", BITS)
some = settings(max_examples=40)


def vector(channels: int, **limits: Any) -> st.SearchStrategy[Any]:
    """float32: ordinary, zeros, and sizes that trained weights never have."""
    numbers = st.floats(-4, 4, width=32) | st.sampled_from([0.0, 1.0, 3.0, 2.0**60, 2.0**-100])
    return arrays(np.float32, (channels,), elements=numbers.map(abs) if limits.get("positive") else numbers)


def engine(bits: int) -> BallEngine:
    return BallEngine(BigEngine(MultiprecisionEngine(bits), "layer"), "layer")


def holds(balls: Balls, true: Any) -> bool:
    """Whether each true number lies in its ball."""
    distance = abs(of_big(balls.midpoints) - true)
    return bool((distance <= of_radii(balls.radii)).all()) and balls.shape == true.shape == balls.radii.shape


# ---- radii


@some
@given(arrays(np.float64, (6,), elements=st.floats(0, 1e308)), st.sampled_from([0, -3300, 1000]))
def test_scaled_radii_bound_what_they_stand_for(values: Any, exponent: int) -> None:
    radii = Radii.scaled(values, exponent)
    exact = of_floats(values) * Fraction(2) ** exponent
    assert (of_radii(radii) >= exact).all() and ((radii.values > 0) == (values > 0)).all()
    assert not values.any() or 1 <= radii.values.max() < 2
    large = radii.values > FLOOR  # what is not raised is not changed
    assert (of_radii(radii)[large] == exact[large]).all()


@some
@given(radii_of((2, 3)), radii_of((3,)), radii_of((2, 1)))
def test_sums_and_products_of_radii_are_upper_bounds(x: Radii, y: Radii, z: Radii) -> None:
    a, b, c = of_radii(x), of_radii(y), of_radii(z)
    assert (of_radii(x.plus(y)) >= a + b).all() and (of_radii(x.plus(y, z)) >= a + b + c).all()
    assert (of_radii(x.times(y)) >= a * b).all()
    nowhere = Radii.zeros((3,))
    assert not x.times(nowhere).values.any() and nowhere.plus(nowhere).shape == (3,)


@some
@given(st.integers(2, 40), st.floats(1, 2, exclude_max=True), st.integers(-200, 200))
def test_sums_of_radii_are_not_much_too_large(count: int, value: float, exponent: int) -> None:
    radii = Radii.scaled(np.full((1,), value), exponent)
    total = radii.plus(*[radii] * (count - 1))
    assert of_radii(total)[0] <= count * of_float(value, exponent) * (1 + Fraction(count, 2**51))


@EVERY_PRECISION
@some
@given(st.data())
def test_magnitudes_roundoffs_and_largest(bits: int, data: st.DataObject) -> None:
    numbers = array(data.draw(st.lists(midpoint(bits), min_size=5, max_size=5)), bits)
    exact = of_big(numbers)
    assert (of_radii(magnitudes(numbers)) >= abs(exact)).all()
    halves = np.where(
        numbers.signs != 0, of_floats(np.full(5, 0.5)) * Fraction(2) ** numbers.exponents.astype(object), 0
    )
    assert (of_radii(roundoff(numbers)) >= halves).all()
    assert ((roundoff(numbers).values == 0) == (numbers.signs == 0)).all()
    _, mantissa, exponent, _ = magnitudes(numbers).largest._mpf_
    assert Fraction(int(mantissa)) * Fraction(2) ** exponent == max(of_radii(magnitudes(numbers)))


@EVERY_PRECISION
@some
@given(st.data())
def test_surely_reaches_is_never_wrong(bits: int, data: st.DataObject) -> None:
    balls = data.draw(balls_of((6,), bits))
    near = magnitudes(balls.midpoints)  # a little above |m|, where a careless bound says yes
    for radii in (balls.radii, near, Radii(near.values * (1 - 2.0**-52), near.exponent)):
        reaches = surely_reaches(balls.midpoints, radii)
        assert (abs(of_big(balls.midpoints)) >= of_radii(radii))[reaches].all()
    assert surely_reaches(balls.midpoints, Radii.zeros((6,))).all()


# ---- the engine's operations


@EVERY_PRECISION
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@some
@given(st.data())
def test_convolution_keeps_the_truth(bits: int, dtype: Any, data: st.DataObject) -> None:
    strides, padding = data.draw(st.sampled_from([((1, 1), ((0, 0), (0, 0))), ((2, 1), ((1, 0), (2, 1)))]))
    balls = data.draw(balls_of((1, 3, 3, 2), bits))
    numbers = st.floats(-4, 4, width=32) | st.sampled_from([0.0, 1.0, -(2.0**100), 2.0**-126])
    kernel = data.draw(arrays(dtype, (2, 2, 2, 2), elements=numbers))
    bias = data.draw(st.none() | vector(2))
    x, w = inside(balls, data), of_floats(kernel)
    padded = np.full((1, 3 + sum(padding[0]), 3 + sum(padding[1]), 2), Fraction(0), object)
    padded[:, padding[0][0] : padding[0][0] + 3, padding[1][0] : padding[1][0] + 3] = x
    y = engine(bits).conv2d(balls, kernel, bias, strides=strides, padding=padding)
    true = np.empty(y.shape, object)
    for _, i, j, f in np.ndindex(y.shape):
        window = padded[0, i * strides[0] : i * strides[0] + 2, j * strides[1] : j * strides[1] + 2]
        true[0, i, j, f] = (window * w[..., f]).sum() + (0 if bias is None else Fraction(float(bias[f])))
    assert holds(y, true)


@pytest.mark.parametrize("size", [2.0**-1060, 2.0**-700, 2.0**1023])
def test_convolution_by_tiny_and_huge_float64_weights_keeps_the_truth(size: float) -> None:
    """Sums of |w| r in float64 may neither underflow nor overflow. The midpoints are zero: no roundoff hides a loss."""
    midpoints = BigFloats.zeros((1, 1, 1, 4), 64)
    balls = Balls(midpoints, Radii.scaled(np.array([1.5, 2.0**-380, 2.0**-390, 2.0**-398]).reshape(1, 1, 1, 4)))
    kernel = np.array([[0.0, 1.5], [1.5, 0.0], [1.0, 0.0], [1.0, 0.0]]).reshape(1, 1, 4, 2) * size
    y = engine(64).conv2d(balls, kernel, None, strides=(1, 1), padding=((0, 0), (0, 0)))
    assert np.isfinite(y.radii.values).all()
    x = of_big(midpoints) + of_radii(balls.radii)
    assert holds(y, (x.reshape(4) @ of_floats(kernel).reshape(4, 2)).reshape(1, 1, 1, 2))


@EVERY_PRECISION
@some
@given(st.data())
def test_dense_keeps_the_truth(bits: int, data: st.DataObject) -> None:
    balls = data.draw(balls_of((2, 5), bits))
    kernel = data.draw(arrays(np.float32, (5, 3), elements=st.floats(-4, 4, width=32)))
    bias = data.draw(vector(3))
    assert holds(engine(bits).dense(balls, kernel, bias), inside(balls, data) @ of_floats(kernel) + of_floats(bias))


def scales(gamma: Any, variance: Any) -> list[Any]:
    """Bounds of gamma / sqrt(variance + epsilon) that are 2^-800 of it apart, in either order."""
    bounds: list[list[Fraction]] = [[], []]
    for g, v in zip(of_floats(gamma), of_floats(variance), strict=True):
        square = (v + Fraction(BATCH_NORM_EPSILON)) * 4**1000  # an exact square of a float has no rest
        root = math.isqrt(math.floor(square))
        for side, end in zip(bounds, (root, root + (root * root != square)), strict=True):
            side.append(g * 2**1000 / end)
    return [np.array(side, object) for side in bounds]


@EVERY_PRECISION
@settings(max_examples=120)
@given(st.data())
def test_batch_normalisation_keeps_the_truth(bits: int, data: st.DataObject) -> None:
    balls = data.draw(balls_of((1, 2, 2, 3), bits))
    gamma, beta, mean = (data.draw(vector(3)) for _ in range(3))
    variance = data.draw(vector(3, positive=True))
    y = engine(bits).batch_norm(balls, gamma, beta, mean, variance, epsilon=BATCH_NORM_EPSILON)
    x = inside(balls, data)
    for s in scales(gamma, variance):
        assert holds(y, (x - of_floats(mean)) * s + of_floats(beta))


@pytest.mark.parametrize("sign", [-1, 1])
def test_the_radius_of_the_scale_is_needed_where_nothing_else_hides_it(sign: int) -> None:
    """x of one bit and mean = beta = 0: t is 0, x s is exact, and all of the error is the scale's."""
    x = Balls(BigFloats.from_floats(np.full((1, 1, 1, 40), sign * 2.0), 64), Radii.zeros((1, 1, 1, 40)))
    gamma, zeros = np.linspace(0.5, 1.5, 40).astype(np.float32), np.zeros(40, np.float32)
    variance = np.linspace(0.1, 2, 40).astype(np.float32)
    y = engine(64).batch_norm(x, gamma, zeros, zeros, variance, epsilon=BATCH_NORM_EPSILON)
    for s in scales(gamma, variance):
        assert holds(y, (sign * 2 * s).reshape(1, 1, 1, 40))


@EVERY_PRECISION
@some
@given(st.data())
def test_relu_keeps_the_truth(bits: int, data: st.DataObject) -> None:
    balls = data.draw(balls_of((1, 2, 2, 3), bits))
    y = engine(bits).relu(balls)
    assert holds(y, np.maximum(inside(balls, data), Fraction(0)))
    middles, radii = of_big(balls.midpoints), of_radii(balls.radii)
    above, below = middles - radii >= 0, middles + radii < -abs(middles) / 2**50
    assert not of_big(y.midpoints)[below].any() and not y.radii.values[below].any()
    assert (of_radii(y.radii)[above] == radii[above]).all()


@EVERY_PRECISION
@some
@given(st.data())
def test_max_pool_keeps_the_truth(bits: int, data: st.DataObject) -> None:
    balls = data.draw(balls_of((1, 4, 5, 2), bits))
    x = inside(balls, data)
    y = engine(bits).max_pool(balls, size=(2, 3), strides=(2, 1))
    true = [[x[0, i : i + 2, j : j + 3].max((0, 1)) for j in range(3)] for i in (0, 2)]
    assert holds(y, np.array(true, object)[None])


@EVERY_PRECISION
@some
@given(st.data())
def test_sums_means_and_padding_keep_the_truth(bits: int, data: st.DataObject) -> None:
    x, y = (data.draw(balls_of((1, 2, 3, 2), bits)) for _ in range(2))
    left, right = inside(x, data), inside(y, data)
    assert holds(engine(bits).add(x, y), left + right)
    assert holds(engine(bits).mean_pool(x), left.sum((1, 2)) / 6)
    padded = np.full((1, 4, 3, 2), Fraction(0), object)
    padded[:, 1:3] = left
    assert holds(engine(bits).pad(x, ((1, 1), (0, 0))), padded)


def test_pictures_are_exact() -> None:
    picture = np.array([1.0, 5e-324, -(2.0**1023), 0.0, 1 / 3]).reshape(1, 1, 5, 1)
    balls = engine(64).storage(picture)
    assert (of_big(balls.midpoints) == of_floats(picture)).all() and not balls.radii.values.any()
    assert engine(64).storage(balls) is balls


# ---- what a certificate keeps of a layer


@EVERY_PRECISION
@some
@given(st.data())
def test_the_kept_pair_and_radius_hold_every_ball(bits: int, data: st.DataObject) -> None:
    balls = data.draw(balls_of((2, 3), bits))
    layer = certified(balls, full=False, threads=1)
    cut = abs(of_big(balls.midpoints) - of_floats(layer.hi) - of_floats(layer.lo))
    radius = of_floats(layer.radius) * Fraction(2) ** layer.exponent
    assert (radius >= of_radii(balls.radii) + cut).all() and layer.full is None
    assert (of_floats(layer.bound) >= radius).all()
    assert ((layer.radius == 0) == ((balls.radii.values == 0) & (cut == 0))).all()


@pytest.mark.parametrize("exponent", [-1074, -1060, -1200, -3300])
def test_the_float64_bound_is_no_smaller_where_it_is_subnormal(exponent: int) -> None:
    values = np.array([1.0, 1.2, 1.5, 1.999, 0.0])
    layer = certified(Balls(BigFloats.from_floats(values, 64), Radii.scaled(values, exponent)), full=False, threads=1)
    exact = of_floats(layer.radius) * Fraction(2) ** layer.exponent
    assert (of_floats(layer.bound) >= exact).all() and layer.bound[-1] == 0


def test_numbers_beyond_float64_are_refused() -> None:
    numbers = array([(1 << 63, 2000)], 64)
    with pytest.raises(InputError, match=r"2\^1024"):
        certified(Balls(numbers, Radii.zeros((1,))), full=False, threads=1)


def test_a_precision_that_cannot_hold_the_weights_is_refused() -> None:
    with pytest.raises(InputError, match="10 bits"):
        BallEngine(BigEngine(MultiprecisionEngine(10)))
