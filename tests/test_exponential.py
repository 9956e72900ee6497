"""exp is correctly rounded in every format, however good or bad the library's own exp is."""

from __future__ import annotations

import math
import warnings

import mpmath
import numpy as np
import pytest
from flint import arb, ctx
from hypothesis import given
from hypothesis import strategies as st

from refnet.arithmetic import exponential
from refnet.arithmetic.exponential import exp
from refnet.arithmetic.formats import FORMATS, Format

NAMES = sorted(FORMATS)
NARROW = sorted(name for name, format_ in FORMATS.items() if format_.precision <= exponential.FAST_PRECISION)


def nearest(value: mpmath.mpf, format_: Format) -> float:
    """RN of a multiprecision number by mpmath's own rounding to an integer: no code shared with refnet."""
    with mpmath.workprec(4000):
        spacing = max(int(mpmath.floor(mpmath.log(value, 2))), format_.emin) - format_.precision + 1
        rounded = mpmath.ldexp(mpmath.nint(mpmath.ldexp(value, -spacing)), spacing)
        return math.inf if rounded >= mpmath.mpf(2) ** (format_.emax + 1) else float(rounded)


def reference(x: float, format_: Format, bits: int = 400) -> float:
    with mpmath.workprec(bits):
        return nearest(mpmath.exp(mpmath.mpf(x)), format_)


def proved_by_flint(x: float, result: float, format_: Format, bits: int = 256) -> bool:
    """Whether arb proves that exp(x) lies nearer to `result` than to its neighbours in the format."""
    if result == math.inf:
        halfway_up = arb(2) ** format_.emax * (2 - arb(2) ** -format_.precision)
        return bool(arb(x).exp() >= halfway_up)
    leading = math.frexp(result)[1] - 1 if result else format_.emin
    spacing = max(leading, format_.emin) - format_.precision + 1
    below = spacing - 1 if result == 2.0**leading and leading > format_.emin else spacing  # a power of two: finer below
    true = arb(x).exp()
    return bool(arb(result) - arb(2) ** (below - 1) <= true) and bool(true <= arb(result) + arb(2) ** (spacing - 1))


def range_of(format_: Format) -> tuple[float, float]:
    """From where exp rounds to zero to where it overflows, and a little beyond both."""
    return (format_.emin - format_.precision) * math.log(2) * 1.01, (format_.emax + 1) * math.log(2) * 1.01


@pytest.mark.parametrize("name", NAMES)
def test_random_inputs_agree_with_mpmath(name: str) -> None:
    format_ = FORMATS[name]
    x = np.random.default_rng(1).uniform(*range_of(format_), 1500).astype(format_.working)
    assert exp(x, format_).tolist() == [reference(number, format_) for number in x.tolist()]


@pytest.mark.parametrize("name", NAMES)
def test_random_inputs_are_proved_by_arb(name: str) -> None:
    format_ = FORMATS[name]
    ctx.prec = 256
    rng = np.random.default_rng(2)
    x = np.concatenate([rng.uniform(*range_of(format_), 10_000), -rng.exponential(2, 10_000)]).astype(format_.working)
    wrong = [
        (a, y) for a, y in zip(x.tolist(), exp(x, format_).tolist(), strict=True) if not proved_by_flint(a, y, format_)
    ]
    assert not wrong


def test_every_float16_input() -> None:
    format_ = FORMATS["float16"]
    x = np.arange(65536, dtype=np.uint16).view(np.float16)
    y = exp(x, format_)
    assert (np.isnan(y) == np.isnan(x)).all()
    finite = np.isfinite(x)
    ctx.prec = 128
    assert all(
        proved_by_flint(a, b, format_)
        for a, b in zip(x[finite].tolist(), y[finite].tolist(), strict=True)
        if abs(a) < 40
    )
    assert (y[x > 40] == np.inf).all() and (y[x < -40] == 0).all()


@pytest.mark.parametrize("name", NARROW)
def test_millions_of_inputs(name: str) -> None:
    """float64 decides all results that are clearly nearest; arb decides those near a tie, a power of two or the top."""
    format_ = FORMATS[name]
    x = np.random.default_rng(3).uniform(*range_of(format_), 4_000_000).astype(np.float32)
    y = exp(x, format_).astype(np.float64)
    true = np.exp(x.astype(np.float64))
    significand, exponent = np.frexp(np.maximum(y, format_.smallest_normal))
    spacing = np.ldexp(1.0, exponent - format_.precision)
    with np.errstate(invalid="ignore"):
        clear = (np.abs(true - y) < spacing * (0.5 - 2.0**-12)) & ((significand != 0.5) | (y < format_.smallest_normal))
    clear |= np.isinf(y) & (true > 1.001 * format_.largest)
    ctx.prec = 256
    unclear = np.flatnonzero(~clear)
    assert all(proved_by_flint(a, b, format_) for a, b in zip(x[unclear].tolist(), y[unclear].tolist(), strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_special_values(name: str) -> None:
    x = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1e300, -1e300])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        y = exp(x, FORMATS[name])
    np.testing.assert_array_equal(y, np.array([1, 1, np.inf, 0, np.nan, np.inf, 0]))
    assert not np.signbit(y[:4]).any() and y.dtype == FORMATS[name].working


@pytest.mark.parametrize("name", NAMES)
def test_underflow_is_gradual_and_ties_go_the_right_way(name: str) -> None:
    format_ = FORMATS[name]
    smallest = format_.emin - format_.precision + 1  # exponent of the smallest subnormal
    edges = [
        (smallest - 1) * math.log(2),
        smallest * math.log(2),
        format_.emin * math.log(2),
        math.log(format_.largest),
        (format_.emax + 1) * math.log(2),
    ]
    x = np.array([edge for near in edges for edge in near + np.arange(-20, 21) * math.ulp(near)])
    y = exp(x, format_)
    assert y.tolist() == [reference(number, format_) for number in x.tolist()]
    assert 0 in y and 2.0**smallest in y and np.inf in y


@pytest.mark.parametrize("name", NAMES)
def test_tiny_arguments_are_almost_ties(name: str) -> None:
    """exp(x) = 1 + x + x^2/2: for x half an ulp of 1 the tie is broken by x^2 alone, far behind the first bits."""
    format_ = FORMATS[name]
    u = format_.unit_roundoff
    x = np.array([u, -u / 2, np.nextafter(u, 0), u * (1 + 2.0**-30), 3 * u, -3 * u / 2, 2.0**-149, -(2.0**-1074)])
    y = exp(x, format_)
    assert y.tolist() == [reference(number, format_, bits=4000) for number in x.tolist()]
    assert y[0] == 1 + 2 * u and y[1] == 1  # x^2/2 lifts both off their ties


@pytest.mark.parametrize("name", NARROW)
@pytest.mark.parametrize("skew", [1 - 2.0**-27, 1 + 2.0**-27])
def test_an_error_of_the_library_within_the_bound_leaves_no_trace(
    name: str, skew: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bound is made so wide here that many inputs depend on it: were it not honoured, some 10 would differ."""
    format_ = FORMATS[name]
    x = np.random.default_rng(4).uniform(*range_of(format_), (100, 200)).astype(np.float32)
    expected, library = exp(x, format_), np.exp
    monkeypatch.setattr(exponential, "FAST_ERROR", 2.0**-26)
    monkeypatch.setattr(np, "exp", lambda number: library(number) * skew)
    np.testing.assert_array_equal(exp(x, format_), expected)


@given(st.sampled_from(NAMES), st.floats(-800, 800), st.floats(-800, 800))
def test_exp_never_decreases(name: str, x: float, y: float) -> None:
    low, high = sorted((x, y))
    assert exp(low, FORMATS[name]) <= exp(high, FORMATS[name])


def test_shapes_stay_and_the_input_is_left_alone() -> None:
    x = np.array([[1.0, 2.0]], np.float32)
    x.flags.writeable = False
    assert exp(x, FORMATS["float32"]).shape == (1, 2)
    assert exp(np.empty((0, 3)), FORMATS["float64"]).shape == (0, 3)
    assert exp(1.0, FORMATS["float64"]) == math.e
