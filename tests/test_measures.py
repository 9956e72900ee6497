"""Each measure against an exact second route: rationals (fractions.Fraction), math.ulp, or the formula by hand."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from refnet.arithmetic.formats import FORMATS
from refnet.drift.comparison import norm, nth_smallest
from refnet.drift.logits import kl_divergence, measure_logits, top_agreement, top_classes
from refnet.drift.measures import MEASURES, measure
from refnet.drift.ulp import bit_difference
from refnet.errors import InputError

NAMES = ("float16", "float32", "float64")
moderate = st.floats(-1e4, 1e4, allow_subnormal=True)


def exact_ulp_error(y: float, t: float, name: str) -> Fraction:
    """The definition of semantics.md in rational arithmetic, the exponent found by comparing, not by logarithms."""
    magnitude, exponent = abs(Fraction(t)), 0
    while magnitude >= 2:
        magnitude, exponent = magnitude / 2, exponent + 1
    while magnitude < 1:
        magnitude, exponent = magnitude * 2, exponent - 1
    limits = FORMATS[name]
    spacing = Fraction(2) ** (max(exponent, limits.emin) - limits.precision + 1)
    return abs(Fraction(y) - Fraction(t)) / spacing


def numbers(name: str) -> st.SearchStrategy[float]:
    return st.floats(width=int(name.removeprefix("float")), allow_nan=False, allow_infinity=False)


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data())
def test_ulp_error_is_the_rational_one(name, data):
    y = data.draw(numbers(name))
    near = st.floats(0.9, 1.1).map(lambda factor: y * factor)
    t = data.draw(st.one_of(near, numbers("float64")).filter(lambda t: t != 0 and math.isfinite(t)))
    found = measure(np.array([y], name), np.array([t]))["max_ulp"]
    exact = exact_ulp_error(y, t, name)
    if exact > Fraction(2) ** 1023 or abs(Fraction(y) - Fraction(t)) > Fraction(2) ** 1023:
        assert found == math.inf or abs(Fraction(found) - exact) <= exact / 2**52
    else:
        assert abs(Fraction(found) - exact) <= exact / 2**52


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data())
def test_a_neighbour_is_one_ulp_away(name, data):
    """One step up from a float of the format is one ulp of it, at powers of two, subnormals and huge numbers alike."""
    special = [1.0, 2.0**-20, 0.5, 3.0, float(np.finfo(name).tiny), float(np.finfo(name).smallest_subnormal)]
    t = data.draw(st.one_of(st.sampled_from(special), numbers(name).map(abs).filter(bool)))
    with np.errstate(over="ignore"):
        above = np.nextafter(np.array([t], name), np.array([np.inf], name))
    if np.isfinite(above[0]):
        assert measure(above, np.array([t]))["max_ulp"] == 1


@given(numbers("float64").map(abs).filter(bool), st.integers(0, 100))
def test_float64_ulps_are_those_of_math_ulp(t, steps):
    y = t + steps * math.ulp(t)
    if math.isfinite(y) and math.frexp(y)[1] == math.frexp(t)[1]:
        assert measure(np.array([y]), np.array([t]))["max_ulp"] == steps


@given(arrays.arrays(np.float32, 20, elements=st.floats(-8, 8, width=32)))
def test_rounding_the_truth_costs_half_an_ulp_at_most(y):
    truth = y + np.linspace(0, 1e-3, 20)
    assert not measure(truth.astype(np.float32), truth)["max_ulp"] > 0.5


def test_zeros_of_the_truth_are_counted_apart():
    found = measure(np.array([1e-3, -2e-3, 1.0], np.float32), np.array([0.0, -0.0, 1.0]))
    assert found["zero_truths"] == 2 and found["max_abs_at_zero"] == np.float32(2e-3)
    assert found["max_ulp"] == found["median_ulp"] == 0
    assert found["max_abs"] == np.float32(2e-3)


def test_nan_and_infinity_are_counted_and_never_averaged():
    y = np.array([np.nan, np.inf, -np.inf, 1, np.nan, np.inf, 2], np.float32)
    t = np.array([np.nan, np.inf, np.inf, np.nan, 1, 2, 2])
    found = measure(y, t)
    assert found["nonfinite"] == 4  # -inf for inf, 1 for NaN, NaN for 1, inf for 2
    assert found["max_abs"] == found["rel_l2"] == found["max_ulp"] == 0


@given(arrays.arrays(np.float64, 50, elements=moderate), st.integers(0, 2**32 - 1))
def test_norm_measures_against_the_formulas(truth, seed):
    y = (truth + np.random.default_rng(seed).normal(size=50)).astype(np.float32)
    found = measure(y, truth)
    squares = math.fsum((float(a) - b) ** 2 for a, b in zip(y, truth, strict=True))
    truths = math.fsum(b * b for b in truth)
    assert found["max_abs"] == max(abs(float(a) - b) for a, b in zip(y, truth, strict=True))
    if truths > 1e-300:
        assert found["rel_l2"] == pytest.approx(math.sqrt(squares / truths), rel=1e-12, abs=0)
        assert found["sqnr_db"] == pytest.approx(10 * math.log10(truths / squares), rel=1e-9, abs=1e-9)
        assert found["max_over_rms"] == pytest.approx(found["max_abs"] / math.sqrt(truths / 50), rel=1e-12, abs=0)


def test_percentiles_are_elements_in_their_place():
    truth = np.ones(1000)
    y = 1 + np.random.default_rng(0).permutation(1000) * np.finfo(np.float64).eps
    found = measure(y, truth)
    assert (found["median_ulp"], found["p99_ulp"], found["max_ulp"]) == (499, 989, 999)


@given(arrays.arrays(np.float64, st.integers(1, 50), elements=st.floats(0, np.inf)), st.data())
def test_the_nth_smallest_is_the_one_that_sorting_finds(x, data):
    x = np.abs(np.concatenate([x, x[:3]]))
    place = data.draw(st.integers(0, x.size - 1))
    assert nth_smallest(x, place) == sorted(x.tolist())[place]


@pytest.mark.parametrize("exponent", [-1070, -1000, -530, -512, -450, 0, 511, 900])
def test_norm_neither_overflows_nor_vanishes(exponent):
    """At -530 squares are subnormal: they are there, with few digits."""
    x = np.array([3.0, -4.0]) / 7 * 2.0**exponent
    assert norm(x) == pytest.approx(math.hypot(*x), rel=1e-15, abs=5e-324)


def test_equal_and_empty_arrays():
    same = measure(np.float32([1, -2]), np.array([1.0, -2.0]))
    assert same["rel_l2"] == 0 and same["sqnr_db"] == math.inf
    nothing = measure(np.float32([0, 0]), np.array([0.0, 0.0]))
    assert nothing["rel_l2"] == 0 and math.isnan(nothing["max_ulp"]) and nothing["zero_truths"] == 2
    lost = measure(np.float32([np.nan]), np.array([1.0]))
    assert math.isnan(lost["rel_l2"]) and math.isnan(lost["max_over_rms"]) and math.isnan(lost["sqnr_db"])


def test_error_over_the_sum_of_magnitudes():
    y, t, scale = np.float32([1.5, 2, 0]), np.array([1.0, 2.0, 0.0]), np.array([4.0, 1.0, 0.0])
    assert measure(y, t, scale=scale)["max_over_sum"] == 0.5 / (4 * 2.0**-24)
    assert math.isnan(measure(y, t)["max_over_sum"])


@pytest.mark.parametrize("bad", [np.zeros(3, np.float32), np.zeros(2, np.int32)])
def test_wrong_shape_or_type_is_one_clear_error(bad):
    with pytest.raises(InputError):
        measure(bad, np.zeros(2))


def test_every_measure_is_in_the_result_and_described():
    found = measure(np.float32([1]), np.array([1.0]))
    assert list(found) == list(MEASURES)
    assert all(row.formula and row.title for row in MEASURES.values())


@given(arrays.arrays(np.float32, 8), arrays.arrays(np.float32, 8))
def test_bit_difference_against_a_loop_over_the_bits(first, second):
    values = zeros = 0
    for a, b in zip(first, second, strict=True):
        if a.tobytes() == b.tobytes() or (math.isnan(a) and math.isnan(b)):
            continue
        zeros += bool(a == 0 and b == 0)
        values += not (a == 0 and b == 0)
    found = bit_difference(first, second)
    assert (found.values, found.zero_signs) == (values, zeros)


def test_bit_difference_counts_a_sign_of_zero_apart_and_one_nan():
    nan = np.array([0x7FC00001], np.uint32).view(np.float32)[0]
    found = bit_difference(np.float32([0.0, np.nan, 1]), np.array([-0.0, nan, 2], np.float32))
    assert (found.values, found.zero_signs) == (1, 1)
    with pytest.raises(InputError):
        bit_difference(np.float32([0]), np.float64([0]))


def test_top_classes_take_the_lower_class_of_equals():
    assert top_classes(np.array([[1.0, 3.0, 3.0, 2.0]]), 3).tolist() == [[1, 2, 3]]
    assert top_agreement(np.array([[1.0, 3, 2, 0, 5, 4, 6]]), np.array([[6.0, 3, 2, 0, 5, 4, 1]]), 5) == 0.8


def exact_kl(t: list[float], y: list[float]) -> float:
    """By mpmath with 60 digits, straight from the definition."""
    import mpmath

    with mpmath.workdps(60):
        p, q = ([mpmath.exp(mpmath.mpf(v)) for v in row] for row in (t, y))
        p, q = ([e / mpmath.fsum(row) for e in row] for row in (p, q))
        return float(mpmath.fsum(a * mpmath.log(a / b) for a, b in zip(p, q, strict=True)))


@pytest.mark.parametrize("size", [1e-7, 1e-5, 1e-3, 1.0, 30.0])
def test_kl_is_that_of_sixty_digits(size):
    rng = np.random.default_rng(0)
    t = rng.normal(size=(1, 50)) * 5
    y = t + rng.normal(size=(1, 50)) * size
    assert kl_divergence(t, y) == pytest.approx(exact_kl(t[0].tolist(), y[0].tolist()), rel=1e-6)


@given(arrays.arrays(np.float64, (2, 6), elements=st.floats(-1000, 1000)), st.floats(-100, 100))
def test_kl_is_never_negative_and_ignores_a_shift(t, shift):
    y = np.flip(t, axis=-1)
    assert kl_divergence(t, y) >= 0 and kl_divergence(t, t) == 0
    assert kl_divergence(t, t + shift) < 1e-20


def test_logits_with_nan_have_no_kl():
    found = measure_logits(np.float32([[np.nan, 1, 2]]), np.array([[0.0, 1, 2]]))
    assert math.isnan(found["kl_nats"]) and found["nonfinite"] == 1 and found["top1_agreement"] == 1


def test_a_picture_whose_logits_are_nan_agrees_in_nothing():
    values, truth = np.full((1, 6), np.nan, np.float32), np.array([[6.0, 5, 4, 3, 2, 1]])
    assert top_agreement(values, truth, 1) == top_agreement(values, truth, 5) == 0
