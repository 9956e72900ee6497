"""Published error bounds on ill-conditioned sums, condition 1 to 1e40, checked in exact fractions.

gendot makes the vectors (Ogita, Rump and Oishi 2005, algorithm 6.1); u is half an ulp of 1 in the accumulate format and
gamma_n = n u / (1 - n u). The sizes keep every product and its error within the format's exponents, where the bounds
need no term for underflow; `test_no_product_underflows` says that it is so.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from gendot import IllConditioned, gendot

from refnet import kernels
from refnet.arithmetic import FORMATS, DoubleDouble

CONDITIONS = [1.0, 1e4, 1e8, 1e12, 1e16, 1e24, 1e32, 1e40]
SIZES = [10, 100, 500]
PRECISIONS = ["float32", "float64"]
SEEDS = range(3)
OF_TERMS = pytest.mark.parametrize("size", SIZES)
OF_CONDITION = pytest.mark.parametrize("condition", CONDITIONS)
OF_PRECISION = pytest.mark.parametrize("precision", PRECISIONS)
PRODUCT_BITS = {"float32": -149, "float64": -1074}  # exponents of the smallest numbers


def cases(size: int, condition: float, precision: str) -> list[IllConditioned]:
    """Vectors of the precision, or none where so few terms cannot be so ill-conditioned."""
    try:
        return [gendot(size, condition, seed=seed, dtype=np.dtype(precision)) for seed in SEEDS]
    except ValueError:
        return []


def unit(precision: str) -> Fraction:
    return Fraction(2) ** -FORMATS[precision].precision


def gamma(n: int, u: Fraction) -> Fraction:
    return n * u / (1 - n * u)


def magnitude(case: IllConditioned) -> Fraction:
    """sum |x_k y_k|."""
    return sum(
        (abs(Fraction(a) * Fraction(b)) for a, b in zip(case.x.tolist(), case.y.tolist(), strict=True)), Fraction()
    )


def error(case: IllConditioned, precision: str, **how: Any) -> Fraction:
    """|kernel's dot product - the exact one|."""
    return abs(value_of(kernels.dot(case.x, case.y, precision=precision, **how)) - case.value)


def value_of(number: Any) -> Fraction:
    """Exactly what a result stands for: one number, or the pair hi + lo."""
    planes = number if isinstance(number, tuple) else (number,)
    return sum((Fraction(float(plane)) for plane in planes), Fraction())


def pair(case: IllConditioned) -> Any:
    """The dot product as double-double: both planes of the kernel's result."""
    return kernels.dot(case.x, case.y, precision="double-double")


def dot2_bound(case: IllConditioned, precision: str) -> Fraction:
    """u |x.y| + gamma_n^2 sum|x y| (Ogita, Rump and Oishi 2005, theorem 5.4, proposition 5.5)."""
    u = unit(precision)
    return u * abs(case.value) + gamma(len(case.x), u) ** 2 * magnitude(case)


@OF_PRECISION
@OF_CONDITION
@OF_TERMS
def test_no_product_underflows(precision: str, condition: float, size: int) -> None:
    """Every product is a whole multiple of the smallest number, so that two_product is exact."""
    smallest = Fraction(2) ** PRODUCT_BITS[precision]
    for case in cases(size, condition, precision):
        products = (Fraction(a) * Fraction(b) for a, b in zip(case.x.tolist(), case.y.tolist(), strict=True))
        assert all((product / smallest).denominator == 1 for product in products)
        assert condition == 1 or condition / 1e3 < case.condition < condition * 1e3


@OF_PRECISION
@OF_CONDITION
@OF_TERMS
def test_dot2_keeps_its_bound(precision: str, condition: float, size: int) -> None:
    for case in cases(size, condition, precision):
        assert error(case, precision, order="dot2") <= dot2_bound(case, precision), case.condition


@OF_CONDITION
@OF_TERMS
def test_double_double_keeps_its_bound(condition: float, size: int) -> None:
    """2Prod is exact, and each AccurateDWPlusDW has a relative error of at most 3 w^2 + 13 w^3, w = 2^-53 (Joldes,
    Muller and Popescu 2017, theorem 3.1): like one rounding of that size in each of n additions."""
    w = unit("float64")
    each = 3 * w**2 + 13 * w**3
    for case in cases(size, condition, "float64"):
        assert abs(value_of(pair(case)) - case.value) <= gamma(size, each) * magnitude(case), case.condition


@pytest.mark.parametrize("cancelled", [0, 1, 10, 26, 51])
def test_an_addition_in_double_double_keeps_its_bound_under_cancellation(cancelled: int) -> None:
    """Relative to the sum itself, however many bits of two numbers cancel; their low parts have bits of their own."""
    w, rng, ones = unit("float64"), np.random.default_rng(cancelled), np.ones(2)
    for _ in range(200):
        high = rng.uniform(0.5, 1) * np.array([1.0, 2.0**-cancelled - 1])
        low = np.ldexp(rng.uniform(-0.5, 0.5, 2), [-54, -54 - rng.integers(50)])
        exact = sum(map(Fraction, [*high.tolist(), *low.tolist()]), Fraction())
        got = value_of(kernels.dot(DoubleDouble(high, low), DoubleDouble(ones, 0 * ones), precision="double-double"))
        assert abs(got - exact) <= (3 * w**2 + 13 * w**3) * abs(exact)


@OF_CONDITION
@OF_TERMS
def test_float64_accumulated_in_double_double_rounds_once_more(condition: float, size: int) -> None:
    w = unit("float64")
    each = 3 * w**2 + 13 * w**3
    for case in cases(size, condition, "float64"):
        inner = gamma(size, each) * magnitude(case)
        got = error(case, "float64", accumulate="double-double")
        assert got <= inner + w * (abs(case.value) + inner), case.condition


@OF_PRECISION
@OF_CONDITION
@OF_TERMS
def test_neumaier_keeps_its_bound(precision: str, condition: float, size: int) -> None:
    """Beside the rounding of products, u sum|x y|, of the rounded ones p: u |s| + gamma_(n-1)^2 sum|p|, s their exact
    sum (Ogita, Rump and Oishi 2005, proposition 4.5); the chain starts from +0, which is one addition more."""
    u = unit(precision)
    for case in cases(size, condition, precision):
        sum_, total = rounded_products(case)
        bound = u * abs(sum_) + gamma(size, u) ** 2 * total
        got = value_of(kernels.dot(case.x, case.y, precision=precision, order="neumaier"))
        assert abs(got - sum_) <= bound, case.condition
        assert abs(got - case.value) <= bound + u * magnitude(case)


@OF_PRECISION
@OF_CONDITION
@OF_TERMS
def test_kahan_keeps_its_bound(precision: str, condition: float, size: int) -> None:
    """Of the rounded products p: (2 u + O(n u^2)) sum|p| (Higham 2002, 4.3, equation 4.8; Knuth, TAOCP 2, 4.2.2,
    exercise 19), with 8 n u^2 for the term of second order."""
    u = unit(precision)
    for case in cases(size, condition, precision):
        sum_, total = rounded_products(case)
        got = value_of(kernels.dot(case.x, case.y, precision=precision, order="kahan"))
        assert abs(got - sum_) <= (2 * u + 8 * size * u**2) * total, case.condition


@OF_PRECISION
@OF_TERMS
@pytest.mark.parametrize("order", ["kahan", "neumaier"])
def test_of_positive_terms_the_relative_error_does_not_grow_with_their_number(
    precision: str, size: int, order: str
) -> None:
    """Condition 2, so the bounds are relative errors: 3 u for Kahan, 2 u for Neumaier, products' rounding included."""
    u, times = unit(precision), {"kahan": 3, "neumaier": 2}[order]
    for seed in SEEDS:
        x, y = np.abs(np.random.default_rng(seed).standard_normal((2, size))).astype(precision)
        exact = sum((Fraction(a) * Fraction(b) for a, b in zip(x.tolist(), y.tolist(), strict=True)), Fraction())
        got = value_of(kernels.dot(x, y, precision=precision, order=order))
        assert abs(got - exact) <= (times * u + 10 * size * u**2) * exact


@OF_PRECISION
@OF_TERMS
@pytest.mark.parametrize("fma", [False, True])
def test_a_plain_sum_breaks_the_bound_of_dot2(precision: str, size: int, fma: bool) -> None:
    """So the tests above can fail: at a condition of 1 / u and worse, where a rounding error is as large as the sum."""
    for condition in (1e8, 1e12) if precision == "float32" else (1e16, 1e24):
        broken = [
            error(case, precision, order="sequential", fma=fma) > dot2_bound(case, precision)
            for case in cases(size, condition, precision)
        ]
        assert any(broken)


@OF_TERMS
@pytest.mark.parametrize("order", ["sequential", "kahan", "neumaier"])
def test_sums_in_float64_break_the_bound_of_double_double(order: str, size: int) -> None:
    each = 3 * unit("float64") ** 2 + 13 * unit("float64") ** 3
    found = cases(size, 1e32, "float64")
    assert found or size == 10
    assert all(error(case, "float64", order=order) > gamma(size, each) * magnitude(case) for case in found)


def rounded_products(case: IllConditioned) -> tuple[Fraction, Fraction]:
    """The exact sum of the rounded products, and that of their magnitudes."""
    products = [Fraction(float(p)) for p in case.x * case.y]
    return sum(products, Fraction()), sum(map(abs, products), Fraction())
