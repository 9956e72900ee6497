"""Kernel = spec = judge, bit for bit: for every arithmetic, over shapes that fit no tile and numbers that are hard."""

from __future__ import annotations

import itertools
from typing import Any

import judge
import numpy as np
import pytest
from arithmetics import ARITHMETICS, each, random_numbers, wildness
from hypothesis import given, settings
from hypothesis import strategies as st

from refnet import kernels, ops
from refnet.arithmetic import Arithmetic, exported
from refnet.errors import InputError

EVERY = each(ARITHMETICS)
# double-double has no third judge: test_compensated.py holds it against its bounds
JUDGED = each([a for a in ARITHMETICS if a.accumulate != "double-double"])


def fields(arithmetic: Arithmetic) -> dict[str, object]:
    return {name: getattr(arithmetic, name) for name in ("precision", "accumulate", "order", "fma")}


def same_bits(x: Any, y: Any) -> bool:
    """Equal as integers, NaN made canonical, so that zeros of different signs differ."""
    if isinstance(x, tuple):
        return all(map(same_bits, x, y))
    integers = {2: np.uint16, 4: np.uint32, 8: np.uint64}[x.dtype.itemsize]
    canonical = [np.where(np.isnan(z), z.dtype.type(np.nan), z).view(integers) for z in (x, y)]
    return x.shape == y.shape and x.dtype == y.dtype and bool((canonical[0] == canonical[1]).all())


@EVERY
@settings(max_examples=4, deadline=None)
@given(data=st.data())
def test_conv2d_equals_the_definition(arithmetic: Arithmetic, data: st.DataObject) -> None:
    sizes = st.integers(1, 5)
    images, height, width, channels = (data.draw(sizes) for _ in range(4))
    filters = data.draw(st.integers(1, 40))
    kernel_size = data.draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    strides = data.draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    padding = tuple((size - 1, data.draw(st.integers(0, 2))) for size in kernel_size)
    rng, wild = np.random.default_rng(data.draw(st.integers(0, 2**32))), data.draw(wildness)
    x = random_numbers(rng, (images, height, width, channels), arithmetic.storage, wild)
    kernel = random_numbers(rng, (*kernel_size, channels, filters), arithmetic.storage, wild)
    bias = random_numbers(rng, (filters,), arithmetic.storage, wild) if data.draw(st.booleans()) else None
    place = data.draw(st.sampled_from(["first", "last"]))
    placed = Arithmetic(**fields(arithmetic), bias=place)
    expected = ops.conv2d(x, kernel, bias, strides=strides, padding=padding, arithmetic=placed)
    got = kernels.conv2d(x, kernel, bias, strides=strides, padding=padding, bias_at=place, **fields(arithmetic))
    assert same_bits(got, exported(expected, arithmetic.storage))


@JUDGED
@settings(max_examples=6, deadline=None)
@given(terms=st.integers(1, 40), seed=st.integers(0, 2**32), wild=wildness)
def test_dot_equals_the_judge(arithmetic: Arithmetic, terms: int, seed: int, wild: float) -> None:
    rng = np.random.default_rng(seed)
    a, b = random_numbers(rng, (2, terms), arithmetic.storage, wild)
    got = kernels.dot(a, b, **fields(arithmetic))
    exact = judge.dot(
        a, b, format=arithmetic.precision, accumulate=arithmetic.accumulate, order=str(arithmetic.order),
        fma=arithmetic.fma,
    )  # fmt: skip
    assert same_bits(np.asarray(got, np.float64), np.asarray(judge.to_float(exact), np.float64)), (a, b)


@pytest.mark.parametrize("terms", [1, 271, 272, 273, 4608])
@pytest.mark.parametrize(
    "order", ["sequential", "permuted:1", "lanes:64", "pairwise:8", "pairwise", "blocks:272", "dot2"]
)
def test_lengths_around_a_chunk(terms: int, order: str) -> None:
    rng = np.random.default_rng(terms)
    a, b = rng.standard_normal((17, terms)).astype("f4"), rng.standard_normal((terms, 35)).astype("f4")
    arithmetic = Arithmetic(order=order)
    assert same_bits(kernels.matmul(a, b, order=order), ops.sums(a, b, None, arithmetic=arithmetic))


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("shape", [(1, 1), (1, 1000), (49, 512), (300, 33), (1000, 1)])
def test_threads_change_no_bit(threads: int, shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(5)
    a, b = rng.standard_normal((shape[0], 300)).astype("f4"), rng.standard_normal((300, shape[1])).astype("f4")
    assert same_bits(kernels.matmul(a, b, threads=threads), kernels.matmul(a, b, threads=1))


@pytest.mark.parametrize(("precision", "bits"), [("float32", 13), ("float64", 27)])
def test_nothing_is_fused_that_was_not_asked(precision: str, bits: int) -> None:
    """a b + c with a b = 1 + 2^(1 - bits) + 2^(-2 bits), of which only an fma keeps the last part."""
    a, c = 1 + 2.0**-bits, -(1 + 2.0 ** (1 - bits))
    assert kernels.dot([c, a], [1, a], precision=precision, fma=False) == 0
    assert kernels.dot([c, a], [1, a], precision=precision, fma=True) == 2.0 ** (-2 * bits)


@EVERY
def test_mean_pool_equals_the_definition(arithmetic: Arithmetic) -> None:
    rng = np.random.default_rng(3)
    x = random_numbers(rng, (2, 3, 4, 37), arithmetic.storage, 0.02)
    expected = ops.mean_pool(x, arithmetic=arithmetic)
    assert same_bits(kernels.mean_pool(x, **fields(arithmetic)), exported(expected, arithmetic.storage))


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_max_pool_equals_the_definition(dtype: str) -> None:
    values = [0.0, -0.0, np.nan, np.inf, -np.inf, 1.0, -1.0]
    windows = np.array(list(itertools.product(values, repeat=4)), dtype).reshape(-1, 2, 2, 1)
    got = kernels.pooling.max_pool(windows, size=(2, 2), strides=(2, 2), threads=2)
    assert same_bits(got, ops.max_pool(windows, size=(2, 2), strides=(2, 2)))
    assert [judge.bits(judge.read(x), "float64") for x in got.ravel()[:50].tolist()]  # readable by the judge


def test_arrays_that_come_in_are_not_changed() -> None:
    x, kernel, bias = (np.random.default_rng(0).standard_normal(s) for s in ((1, 5, 5, 3), (3, 3, 3, 4), (4,)))
    before = [array.copy() for array in (x, kernel, bias)]
    for precision in ("float64", "float32", "bfloat16", "tf32"):
        kernels.conv2d(x, kernel, bias, precision=precision)
    assert all((array == copy).all() for array, copy in zip((x, kernel, bias), before, strict=True))


@pytest.mark.parametrize(
    "call",
    [
        lambda: kernels.conv2d(np.ones((1, 4, 4, 3)), np.ones((3, 3, 2, 1))),
        lambda: kernels.conv2d(np.ones((4, 4, 3)), np.ones((3, 3, 3, 1))),
        lambda: kernels.conv2d(np.ones((1, 2, 2, 3)), np.ones((3, 3, 3, 1))),
        lambda: kernels.conv2d(np.ones((1, 4, 4, 3)), np.ones((3, 3, 3, 1)), np.ones(2)),
        lambda: kernels.conv2d(np.ones((1, 4, 4, 3)), np.ones((3, 3, 3, 1)), strides=(0, 1)),
        lambda: kernels.matmul(np.ones((2, 3)), np.ones((2, 3))),
        lambda: kernels.matmul(np.array([["a"]]), np.array([["b"]])),
        lambda: kernels.dot(np.ones(3), np.ones(4)),
        lambda: kernels.dot(np.ones(3), np.ones(3), order="blocks:1,1"),
        lambda: kernels.dot(np.ones(3), np.ones(3), order="kahan", fma=True),
        lambda: kernels.dot(np.ones(3), np.ones(3), threads=0),
    ],
)
def test_bad_input_is_one_clear_error(call) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InputError, match=r"."):
        call()
