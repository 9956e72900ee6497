"""order="exact": the real sum of all products and the bias, rounded once, held against Python's integers."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import judge
import numpy as np
import pytest
from arithmetics import random_numbers
from gendot import gendot
from hypothesis import given, settings
from hypothesis import strategies as st
from test_kernels import same_bits

import refnet
from refnet import kernels, ops
from refnet.arithmetic import FORMATS, PRECISIONS, Arithmetic, stored
from refnet.errors import InputError
from refnet.kernels import exact

PRECISE = ("float16", "bfloat16", "bfloat16-operands", "tf32", "float32", "float64")
EVERY = pytest.mark.parametrize("precision", PRECISE)
UNIT = -1074  # every finite number here is an integer times 2^UNIT


def integers(x: Any) -> list[int]:
    return [int(Fraction(float(number)) * 2**-UNIT) for number in np.ravel(x)]


def rounded_sum(a: list[int], b: list[int], bias: int, precision: str) -> float:
    """The judge's rounding of sum a b + bias; +0 for an exact zero."""
    total = Fraction(sum(map(int.__mul__, a, b)) + (bias << -UNIT), 2 ** (-2 * UNIT))
    return judge.to_float(judge.round_to(total, PRECISIONS[precision].storage.name))


def check(a: Any, b: Any, bias: Any, precision: str) -> None:
    """Every output of a @ b + bias, of numbers that are in the precision's operand format."""
    got = kernels.conv2d(a[:, None, None], b[None, None], bias, precision=precision, order="exact")[:, 0, 0]
    rows, columns, offsets = [integers(row) for row in a], [integers(column) for column in b.T], integers(bias)
    wanted = [[rounded_sum(r, c, o, precision) for c, o in zip(columns, offsets, strict=True)] for r in rows]
    assert same_bits(got.astype(np.float64), np.array(wanted)), (a, b, bias)


def finite_numbers(rng: np.random.Generator, shape: tuple[int, ...], precision: str, spread: int) -> Any:
    """Normal numbers times powers of two within 2^-spread .. 2^spread: subnormals and the largest ones included."""
    operand = PRECISIONS[precision].operand
    exponents = rng.integers(-spread, spread + 1, shape)
    numbers = np.clip(np.ldexp(rng.standard_normal(shape), exponents), -operand.largest, operand.largest)
    return stored(numbers, operand)


def many(precision: str, terms: int, rows: int, columns: int, seed: int) -> None:
    """rows x columns dot products, some with exponents over the whole range, all with a random bias."""
    rng = np.random.default_rng(seed)
    spread = [0, 4, 40, -FORMATS[PRECISIONS[precision].operand.name].emin][seed % 4]
    a, b = (finite_numbers(rng, shape, precision, spread) for shape in ((rows, terms), (terms, columns)))
    a[rng.random(a.shape) < 0.1] = 0
    bias = finite_numbers(rng, (columns,), precision, spread)
    if seed % 3 == 0 and terms > 1:  # all but the last few bits cancel, or everything
        b[terms // 2 : terms // 2 * 2] = -b[: terms // 2]
        a[:, terms // 2 : terms // 2 * 2] = a[:, : terms // 2]
    check(a, b, bias, precision)


@EVERY
@pytest.mark.parametrize("terms", [1, 2, 3, 17, 145, 600])
def test_every_bit_of_many_dot_products(precision: str, terms: int) -> None:
    for seed in range(8):
        many(precision, terms, 5, 7, seed)


@pytest.mark.exhaustive
@EVERY
@pytest.mark.parametrize(("terms", "repeats"), [(1, 100), (2, 100), (9, 100), (64, 60), (300, 20), (5000, 2)])
def test_every_bit_of_a_hundred_thousand_dot_products(precision: str, terms: int, repeats: int) -> None:
    """5 formats x 382 matrix products x 60: 114,600."""
    for seed in range(repeats):
        many(precision, terms, 6, 10, 1000 + seed)


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("condition", [1e3, 1e8, 1e16, 1e30, 1e60, 1e100])
def test_ill_conditioned_sums(precision: str, condition: float) -> None:
    for seed in range(5):
        made = gendot(60 + 40 * seed, condition, seed=seed, dtype=precision)
        got = kernels.dot(made.x, made.y, precision=precision, order="exact")
        assert float(got) == judge.to_float(judge.round_to(made.value, precision))


@EVERY
def test_ties_go_to_the_even_neighbour_and_nothing_else_does(precision: str) -> None:
    """m + half an ulp, and the same a little above and below: by the smallest number, far outside any float64."""
    operand = PRECISIONS[precision].operand
    half, tiny = 2.0 ** -PRECISIONS[precision].storage.precision, 2.0 ** (operand.emin - operand.precision + 1)
    for odd in (0, 1):
        for sign in (-1.0, 1.0):
            for rest in (-tiny, 0.0, tiny):
                terms = np.array([1.0, 2 * half * odd, half, rest]) * sign
                got = kernels.dot(terms, np.ones(4), precision=precision, order="exact")
                up = rest > 0 or (rest == 0 and odd)
                assert float(got) == sign * (1 + 2 * half * odd + (2 * half if up else 0.0)), (odd, sign, rest)


@EVERY
def test_ties_among_subnormals_and_the_sign_of_what_rounds_to_zero(precision: str) -> None:
    storage = PRECISIONS[precision].storage
    exponent = storage.emin - storage.precision + 1
    tiny, root = 2.0**exponent, 2.0 ** (exponent // 2)
    for number, wanted in ((0.5, 0.0), (1.5, 2.0), (2.5, 2.0), (0.25, 0.0), (0.75, 1.0)):
        for sign in (-1.0, 1.0):
            got = kernels.dot([sign * root], [number * (tiny / root)], precision=precision, order="exact")
            assert float(got) == sign * wanted * tiny and np.signbit(got) == (sign < 0)


def test_errors_of_products_that_underflow_are_not_lost() -> None:
    """s + c is 1, and the four quarters that TwoProduct's error has no bits for make it 2, in units of 2^-1074."""
    a, b = np.array([1, 0.25, 0.25, 0.25, 0.25]) * 2.0**-537, np.full(5, 2.0**-537)
    assert kernels.dot(a, b, precision="float64", order="exact") == 2.0**-1073


@pytest.mark.parametrize(("precision", "bits", "lost"), [("float32", 14, 2.0**-54), ("float64", 26, 2.0**-108)])
def test_terms_that_a_large_bias_absorbs_still_count(precision: str, bits: int, lost: float) -> None:
    """1 + half an ulp (1 - 2^(-2 bits)) lies below a tie; 64 terms, each too small for the approximation, lift it."""
    half = 2.0 ** -FORMATS[precision].precision
    a = np.array([half * (1 - 2.0**-bits), *[lost] * 64]).reshape(1, 1, 1, -1)
    b = np.array([1 + 2.0**-bits, *[1.0] * 64]).reshape(1, 1, -1, 1)
    for sign in (-1, 1):
        got = kernels.conv2d(sign * a, b, [sign * 1.0], precision=precision, order="exact").item()
        assert got == sign * (1 + 2 * half)


@EVERY
def test_an_exact_zero_is_positive(precision: str) -> None:
    how: Any = {"precision": precision, "order": "exact"}
    for a, b in (([-0.0], [1.0]), ([0.0, 0.0], [-1.0, -2.0]), ([3.0, -3.0], [1.5, 1.5]), ([-5.0, 5.0], [0.25, 0.25])):
        result = kernels.dot(a, b, **how)
        assert result == 0 and not np.signbit(result)
    minus = kernels.conv2d(np.zeros((1, 1, 1, 2)), np.ones((1, 1, 2, 1)), [-0.0], **how)
    assert minus == 0 and not np.signbit(minus).any()
    assert float(kernels.conv2d(np.ones((1, 1, 1, 2)), np.ones((1, 1, 2, 1)), [-2.0], **how).item()) == 0


@EVERY
def test_only_the_result_overflows(precision: str) -> None:
    storage = PRECISIONS[precision].storage
    large = PRECISIONS[precision].operand.largest
    how: Any = {"precision": precision, "order": "exact"}
    assert kernels.dot([large, large, -large], [1, 1, 1], **how) == large
    assert kernels.dot([large, large, -large, -large, 3], [large, 2, large, 2, 1], **how) == 3
    assert kernels.dot([large, large], [1, 1], **how) == math.inf
    half = 2.0 ** (storage.emax - storage.precision)
    for operand, wanted in ((half, math.inf), (half * (1 - 2.0**-7), storage.largest)):
        image, kernel = np.full((1, 1, 1, 1), operand), np.ones((1, 1, 1, 1))
        for sign in (-1, 1):
            got = kernels.conv2d(sign * image, kernel, [sign * storage.largest], **how).item()
            assert got == sign * wanted


@EVERY
def test_nan_and_infinity_are_those_of_ieee_754(precision: str) -> None:
    inf, nan, how = math.inf, math.nan, {"precision": precision, "order": "exact"}
    large = PRECISIONS[precision].operand.largest
    cases = [
        ([inf, 1], [1, 1], inf), ([inf, 1], [-1, 1], -inf), ([inf, 1], [0, 1], nan), ([inf, -inf], [1, 1], nan),
        ([inf, inf], [1, 2], inf), ([nan, 1], [0, 1], nan), ([1, 1], [nan, 1], nan), ([0, 1], [inf, 1], nan),
        ([large, large, -inf], [large, large, 1], -inf), ([large, inf, large], [-large, 1, -large], inf),
    ]  # fmt: skip
    for a, b, wanted in cases:
        assert np.array_equal(kernels.dot(a, b, **how), wanted, equal_nan=True), (a, b)
    for bias, wanted in ((inf, inf), (-inf, -inf), (nan, nan)):
        got = kernels.conv2d(np.ones((1, 1, 1, 1)), np.ones((1, 1, 1, 1)), [bias], **how).item()
        assert np.array_equal(got, wanted, equal_nan=True)
    padded = kernels.conv2d(np.ones((1, 1, 1, 1)), np.full((3, 3, 1, 1), inf), padding=((1, 1), (1, 1)), **how)
    assert np.isnan(padded).all()  # the padding's zeros times infinity


@EVERY
@settings(max_examples=20)
@given(seed=st.integers(0, 2**32), terms=st.integers(1, 200))
def test_permutation_threads_and_the_place_of_the_bias_change_no_bit(precision: str, seed: int, terms: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = (random_numbers(rng, shape, PRECISIONS[precision].storage, 0.2) for shape in ((70, terms), (terms, 3)))
    how: Any = {"precision": precision, "order": "exact"}
    y = kernels.matmul(a, b, threads=1, bias_at="first", **how)
    order = rng.permutation(terms)
    assert same_bits(kernels.matmul(a[:, order], b[order], threads=3, bias_at="last", **how), y)


@EVERY
def test_the_superaccumulator_alone_has_the_same_bits(precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a bound of infinity no sum is decided by its approximation."""
    rng = np.random.default_rng(0)
    x, kernel, bias = (
        random_numbers(rng, shape, PRECISIONS[precision].storage, 0.02) for shape in ((2, 7, 6, 5), (3, 3, 5, 9), (9,))
    )
    how: Any = {"precision": precision, "order": "exact", "padding": ((1, 0), (2, 1)), "strides": (2, 1)}
    y = kernels.conv2d(x, kernel, bias, **how)
    monkeypatch.setattr(exact, "error_bound", lambda terms, planes: (math.inf, math.inf))
    assert same_bits(kernels.conv2d(x, kernel, bias, **how), y)


def test_the_sum_of_no_terms_is_zero() -> None:
    got = kernels.dot([], [], order="exact")
    assert got == 0 and not np.signbit(got) and got.dtype == np.float32
    assert kernels.matmul(np.ones((2, 0)), np.ones((0, 3)), order="exact", precision="float16").shape == (2, 3)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"fma": True}, "fma=True with order='exact'; leave it out"),
        ({"accumulate": "float64"}, "accumulate='float64' with order='exact'; leave it out"),
        ({"precision": "double-double"}, "order='exact' with precision='double-double'; expected one of float16, .*64"),
        ({"accumulate": "double-double", "precision": "float64"}, "accumulate='double-double' with order='exact'"),
    ],
)
def test_what_has_no_meaning_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Arithmetic(order="exact", **fields)


@EVERY
def test_the_mean_of_an_exact_sum(precision: str) -> None:
    """RN(sum) in the elementwise format, then one division."""
    x = np.array([2.0**11, 1, 2.0**-11, -(2.0**11)]).reshape(1, 2, 2, 1)
    arithmetic = Arithmetic(precision, order="exact")
    got = kernels.mean_pool(x, precision=precision, order="exact")
    assert got.item() == stored(np.array((1 + 2.0**-11) / 4), arithmetic.storage)
    assert same_bits(got, ops.mean_pool(stored(x, arithmetic.storage), arithmetic=arithmetic).astype(got.dtype))


@pytest.mark.parametrize(
    "precision", [pytest.param(name, marks=() if name == "float32" else pytest.mark.slow) for name in PRECISE]
)
def test_layers_of_a_network_have_the_bits_of_the_definition(precision: str, synthetic: refnet.Weights) -> None:
    """Few of them, among others in sequence: the definition takes its time."""
    x = refnet.load_image(refnet.bundled_image(), size=32)
    order = {"conv2_block1_[02]_*": "exact", "avg_pool": "exact", "predictions": "exact", "*": "sequential"}
    how: Any = {"precision": precision, "order": order, "batch_norm": "shifted"}
    ours = refnet.predict(x, synthetic, **how)
    assert same_bits(ours, refnet.predict(x, synthetic, engine="spec", **how))
    assert not same_bits(ours, refnet.predict(x, synthetic, precision=precision, batch_norm="shifted"))


@pytest.mark.exhaustive
@pytest.mark.parametrize("batch_norm", ["centred", "shifted-fma", "folded"])
@EVERY
def test_a_whole_network_has_the_bits_of_the_definition(
    precision: str, batch_norm: str, synthetic: refnet.Weights
) -> None:
    x = refnet.load_image(refnet.bundled_image(), size=32)
    how: Any = {"precision": precision, "order": "exact", "batch_norm": batch_norm}
    spec = refnet.activations(x, synthetic, engine="spec", **how)
    ours = refnet.activations(x, synthetic, **how)
    assert [name for name in ours if not same_bits(ours[name], spec[name])] == []
    assert same_bits(refnet.predict(x, synthetic, classifier_activation=None, **how), spec["predictions"])
