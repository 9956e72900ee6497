"""Exact products over residues, held to Python's integers and to FLINT."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from flint import fmpz_mat
from hypothesis import given, settings
from hypothesis import strategies as st

import refnet.kernels
from refnet.errors import InputError
from refnet.kernels import integer_matmul
from refnet.kernels.integer_products import Integers, SpreadError, convolve_numbers
from refnet.kernels.packed_residues import limbs_of, pack_residues
from refnet.kernels.residues import Limbs
from refnet.ops import Padding, Pair


def random_integers(shape: tuple[int, int], bits: int, seed: int) -> Any:
    source = random.Random(seed)
    values = [source.randint(-(2**bits), 2**bits) for _ in range(shape[0] * shape[1])]
    return np.array(values, object).reshape(shape)


# ---- integer_matmul


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(
    ("rows", "terms", "columns", "bits"),
    [(1, 1, 1, 1), (1, 1, 1, 5000), (15, 7, 17, 64), (3, 4608, 5, 200), (29, 145, 33, 63), (2, 30_011, 2, 90)],
)
def test_integer_matmul_is_python_s_own(rows: int, terms: int, columns: int, bits: int, threads: int) -> None:
    a, b = random_integers((rows, terms), bits, 1), random_integers((terms, columns), bits, 2)
    product = integer_matmul(a, b, threads=threads)
    assert product.dtype == object and type(product[0, 0]) is int
    assert (product == a @ b).all()


def test_integer_matmul_is_flint_s() -> None:
    a, b = random_integers((40, 600), 500, 3), random_integers((600, 50), 130, 4)
    judged = fmpz_mat(a.tolist()) * fmpz_mat(b.tolist())
    assert integer_matmul(a, b).tolist() == [[int(number) for number in row] for row in judged.tolist()]


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_integer_matmul_of_anything(data: st.DataObject) -> None:
    rows, terms, columns = (data.draw(st.integers(1, 20)) for _ in range(3))
    entry = st.one_of(st.just(0), st.integers(-3, 3), st.integers(-(2**300), 2**300))
    a = [[data.draw(entry) for _ in range(terms)] for _ in range(rows)]
    b = [[data.draw(entry) for _ in range(columns)] for _ in range(terms)]
    exact = [[sum(a[i][k] * b[k][j] for k in range(terms)) for j in range(columns)] for i in range(rows)]
    assert integer_matmul(a, b).tolist() == exact


@pytest.mark.parametrize("terms", [1, 576, 4608])
@pytest.mark.parametrize("sign", [-1, 1])
def test_the_largest_sums_of_one_sign(terms: int, sign: int) -> None:
    """All entries are as large as their length allows: sums come near to P / 4 and to 2^53."""
    a, b = np.full((5, terms), 2**100 - 1, object), np.full((terms, 5), sign * (2**100 - 1), object)
    assert (integer_matmul(a, b) == sign * terms * (2**100 - 1) ** 2).all()


def test_huge_negative_and_zero_rows() -> None:
    a, b = random_integers((6, 9), 40, 5), random_integers((9, 8), 40, 6)
    a[1], b[:, 3] = 0, 0
    a[2, 4], b[5, 5] = -(7**900), 5**700
    assert (integer_matmul(a, b) == a @ b).all()
    assert (integer_matmul(a - a, b) == 0).all()


def test_every_kind_of_integer() -> None:
    for dtype in (np.int8, np.uint8, np.int32, np.uint64, np.int64):
        ends = np.array([[np.iinfo(dtype).min, np.iinfo(dtype).max]], dtype)
        assert (integer_matmul(ends, ends.T) == ends.astype(object) @ ends.T.astype(object)).all()
    assert integer_matmul([[2**63, -1]], [[1], [2**64]])[0, 0] == 2**63 - 2**64


def test_no_terms_and_no_outputs() -> None:
    assert integer_matmul(np.empty((2, 0), int), np.empty((0, 3), int)).tolist() == [[0] * 3] * 2
    assert integer_matmul(np.empty((0, 4), int), np.ones((4, 3), int)).shape == (0, 3)


@pytest.mark.parametrize(
    ("a", "b", "text"),
    [
        ([[1.0]], [[1]], "integers"),
        (np.ones((2, 2)), np.ones((2, 2), int), "integers"),
        ([[1]], [["1"]], "integers"),
        ([[1, 2]], [[1, 2]], "(M, K) and (K, N)"),
        ([1, 2], [[1], [2]], "(M, K) and (K, N)"),
    ],
)
def test_what_is_no_product_of_integers(a: Any, b: Any, text: str) -> None:
    with pytest.raises(InputError) as caught:
        integer_matmul(a, b)
    assert text in str(caught.value) and "\n" not in str(caught.value)


def test_integer_matmul_is_public() -> None:
    assert "integer_matmul" in refnet.kernels.__all__


# ---- convolutions


def random_limbs(shape: tuple[int, ...], bits: int, seed: int, spread: int = 20) -> Limbs:
    """Numbers of exactly `bits` bits, a fifth of them zero."""
    source = np.random.default_rng(seed)
    limbs = -(-bits // 64)
    words = source.integers(0, 2**64, (*shape, limbs), np.uint64)
    top = bits - 64 * (limbs - 1)
    words[..., -1] &= np.uint64(2**top - 1)
    words[..., -1] |= np.uint64(1 << (top - 1))
    signs = source.choice(np.array([-1, -1, 0, 1, 1], np.int8), shape)
    words[signs == 0] = 0
    exponents = np.where(signs == 0, 0, source.integers(-bits - spread, -bits + 1, shape))
    return Limbs(signs, words, exponents)


def python_integers(x: Limbs, lowest: int) -> Any:
    """The numbers / 2^lowest, as an object array."""
    words = x.significands.astype(object)
    sizes = sum(words[..., limb] << (64 * limb) for limb in range(words.shape[-1]))
    shifts = np.where(x.signs == 0, 0, x.exponents - lowest)
    return (x.signs.astype(object) * sizes) << shifts.astype(object)


def plain_convolution(x: Any, kernel: Any, strides: Pair, padding: Padding) -> Any:
    """ops.conv2d of object arrays, window by window."""
    x = np.frompyfunc(int, 1, 1)(np.pad(x, ((0, 0), *padding, (0, 0))))  # its zeros are NumPy's, which overflow
    height, width = kernel.shape[:2]
    rows = range(0, x.shape[1] - height + 1, strides[0])
    columns = range(0, x.shape[2] - width + 1, strides[1])
    matrix = kernel.reshape(-1, kernel.shape[3])
    return np.array(
        [[[image[i : i + height, j : j + width].reshape(-1) @ matrix for j in columns] for i in rows] for image in x]
    )


def check(result: Integers, exact: Any, exponent: int) -> None:
    """The result is `exact` times 2^exponent."""
    assert result.signs.shape == exact.shape
    words = result.words.astype(object)
    sizes = sum(words[..., limb] << (64 * limb) for limb in range(words.shape[-1]))
    numbers = result.signs.astype(object) * sizes
    assert ((numbers << (result.exponent - exponent)) == exact).all()
    assert (result.signs == np.sign(exact)).all()


LAYERS = [
    ((1, 7, 9, 3), (3, 3, 3, 5), (1, 1), ((1, 1), (1, 1))),
    ((2, 12, 11, 4), (7, 7, 4, 6), (2, 2), ((3, 3), (3, 3))),
    ((3, 6, 6, 17), (1, 1, 17, 33), (2, 2), ((0, 0), (0, 0))),
    ((1, 5, 4, 2), (2, 3, 2, 1), (3, 1), ((0, 2), (1, 0))),
    ((1, 3, 3, 1), (1, 1, 1, 1), (1, 1), ((4, 0), (0, 4))),
]


@pytest.mark.parametrize("layer", LAYERS, ids=str)
@pytest.mark.parametrize("bits", [53, 169, 700])
def test_convolutions_with_float_weights(layer: Any, bits: int) -> None:
    shape, kernel_shape, strides, padding = layer
    x = random_limbs(shape, bits, bits)
    kernel = np.random.default_rng(bits).normal(size=kernel_shape).astype(np.float32)
    lowest, kernel_lowest = -bits - 20, -80
    weights = python_integers(limbs_of(kernel), kernel_lowest)
    exact = plain_convolution(python_integers(x, lowest), weights, strides, padding)
    packed = pack_residues(kernel)
    for how in ({"threads": 1}, {"threads": 2}, {"threads": 2, "memory": 1}, {"threads": 1, "memory": 20_000}):
        check(convolve_numbers(x, packed, strides=strides, padding=padding, **how), exact, lowest + kernel_lowest)


@pytest.mark.parametrize("layer", LAYERS[:3], ids=str)
def test_convolutions_of_floats_and_of_long_weights(layer: Any) -> None:
    shape, kernel_shape, strides, padding = layer
    source = np.random.default_rng(7)
    x, weights = (
        np.ldexp(source.normal(size=shape), source.integers(-40, 40, shape)),
        random_limbs(kernel_shape, 169, 8),
    )
    exact = plain_convolution(python_integers(limbs_of(x), -150), python_integers(weights, -200), strides, padding)
    for image in (x, limbs_of(x)):
        result = convolve_numbers(image, pack_residues(weights), strides=strides, padding=padding, threads=2, memory=1)
        check(result, exact, -350)


def test_floats_of_the_whole_exponent_range() -> None:
    """Too wide for float64 integers: numbers of one limb take their place."""
    x = np.array([2.0**1023, -5e-324, 0.0, 3.5]).reshape(1, 2, 2, 1)
    kernel = np.array([1.5, -(2.0**-1000), 2.0**1000]).reshape(1, 1, 1, 3)
    exact = plain_convolution(
        python_integers(limbs_of(x), -1200), python_integers(limbs_of(kernel), -1200), (1, 1), ((0, 0), (0, 0))
    )
    result = convolve_numbers(x, pack_residues(kernel), strides=(1, 1), padding=((0, 0), (0, 0)), threads=1)
    check(result, exact, -2400)


def test_a_spread_above_the_limit_is_said() -> None:
    x = np.array([1.0, 2.0**-700]).reshape(1, 1, 2, 1)
    packed = pack_residues(np.ones((1, 1, 1, 1)))
    how: dict[str, Any] = {"strides": (1, 1), "padding": ((0, 0), (0, 0)), "threads": 1}
    with pytest.raises(SpreadError) as caught:
        convolve_numbers(x, packed, limit=600, **how)
    assert caught.value.bits > 700 and caught.value.limit == 600
    check(convolve_numbers(x, packed, limit=800, **how), np.array([2**700, 1], object).reshape(1, 1, 2, 1), -700)


def test_zeros_give_zeros() -> None:
    packed = pack_residues(np.zeros((1, 1, 3, 2), np.float32))
    how: dict[str, Any] = {"strides": (1, 1), "padding": ((0, 0), (0, 0)), "threads": 1}
    for x in (np.zeros((1, 2, 2, 3)), random_limbs((1, 2, 2, 3), 169, 1)):
        assert not convolve_numbers(x, packed, **how).signs.any()
    ones = pack_residues(np.ones((1, 1, 3, 2)))
    assert not convolve_numbers(np.zeros((1, 2, 2, 3)), ones, **how).words.any()


def test_progress_grows_to_one_and_an_interrupt_leaves_nothing_broken() -> None:
    x, kernel = random_limbs((1, 8, 8, 16), 169, 2), np.random.default_rng(3).normal(size=(3, 3, 16, 16))
    packed = pack_residues(kernel)
    how: dict[str, Any] = {"strides": (1, 1), "padding": ((1, 1), (1, 1)), "threads": 2, "memory": 1}
    told: list[float] = []
    before = convolve_numbers(x, packed, progress=told.append, **how)
    assert told == sorted(told) and told[-1] == 1 and len(told) > 8

    def interrupt(fraction: float) -> None:
        if fraction > 0.4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convolve_numbers(x, packed, progress=interrupt, **how)
    after = convolve_numbers(x, packed, **how)
    assert (before.words == after.words).all() and (before.signs == after.signs).all()


def test_what_comes_in_stays_as_it_is() -> None:
    x, kernel = random_limbs((1, 4, 4, 3), 169, 4), np.random.default_rng(5).normal(size=(3, 3, 3, 4))
    for array in (*x, kernel):
        array.flags.writeable = False
    convolve_numbers(x, pack_residues(kernel), strides=(1, 1), padding=((1, 1), (1, 1)), threads=2)
