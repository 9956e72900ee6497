"""Kernel = spec = judge, bit for bit: for every arithmetic, over shapes that fit no tile and numbers that are hard."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import judge
import numpy as np
import pytest
from arithmetics import ARITHMETICS, each, random_numbers, wildness
from hypothesis import given, settings
from hypothesis import strategies as st

from refnet import kernels, ops
from refnet.arithmetic import BIAS_PLACES, PRECISIONS, ROUNDED_BEFORE, Arithmetic, exported, parse_order, stored
from refnet.errors import InputError
from refnet.kernels.pack import pieces_of
from refnet.kernels.tile import CHUNK, FOUR

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


def places_of_a_bias(arithmetic: Arithmetic) -> list[str]:
    """All that have a meaning; `narrowed` in one order only where it needs a tile of its own."""
    own_tile = arithmetic.operand != arithmetic.storage and str(arithmetic.order) != "sequential"
    without = ROUNDED_BEFORE if arithmetic.exact else ("narrowed",) if own_tile else ()
    return [place for place in BIAS_PLACES if place not in without]


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
    place = data.draw(st.sampled_from(places_of_a_bias(arithmetic)))
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


@pytest.mark.parametrize("terms", [1, CHUNK - 1, CHUNK, CHUNK + 1, 4608])
@pytest.mark.parametrize(
    "order", ["sequential", "permuted:1", "lanes:64", "pairwise:8", "pairwise", f"blocks:{CHUNK}", "dot2"]
)
def test_lengths_around_a_chunk(terms: int, order: str) -> None:
    rng = np.random.default_rng(terms)
    a, b = rng.standard_normal((17, terms)).astype("f4"), rng.standard_normal((terms, 35)).astype("f4")
    arithmetic = Arithmetic(order=order)
    assert same_bits(kernels.matmul(a, b, order=order), ops.sums(a, b, None, arithmetic=arithmetic))


@pytest.mark.parametrize("terms", [1, CHUNK + 1, pytest.param(4608, marks=pytest.mark.exhaustive)])
@EVERY
def test_every_length_equals_the_definition(arithmetic: Arithmetic, terms: int) -> None:
    """One term, one more than a chunk, and the longest sum of the network."""
    rng = np.random.default_rng(terms)
    a, b = (random_numbers(rng, shape, arithmetic.storage, 0) for shape in ((3, terms), (terms, 5)))
    expected = stored(ops.sums(*operands(a, b, arithmetic), None, arithmetic=arithmetic), arithmetic.storage)
    assert same_bits(kernels.matmul(a, b, **fields(arithmetic)), exported(expected, arithmetic.storage))


@pytest.mark.parametrize("bias_at", ["last", "first"])
@pytest.mark.parametrize("fma", [False, True])
@pytest.mark.parametrize("order", ["pairwise", "lanes:64"])
@pytest.mark.parametrize("terms", [4, 7, 8, 61, 64, CHUNK + 12])
def test_chains_of_one_term_begin_with_plus_zero(terms: int, order: str, fma: bool, bias_at: str) -> None:
    """The kernel adds four of them at once; products of -0, and those that underflow to it, keep the order's sign."""
    rng = np.random.default_rng(terms)
    a = rng.choice(np.array([-0.0, 0.0, -1e-30, 1e-30, 3.0], "f4"), (40, terms), p=[0.55, 0.05, 0.3, 0.05, 0.05])
    a[:10], a[10:20] = -0.0, -1e-30
    b, bias = np.full((terms, 35), 1e-30, "f4"), np.full(35, -0.0, "f4")
    arithmetic = Arithmetic(order=order, fma=fma, bias=bias_at)
    got = kernels.conv2d(a[:, None, None], b[None, None], bias, order=order, fma=fma, bias_at=bias_at)
    assert same_bits(got[:, 0, 0], ops.sums(a, b, bias, arithmetic=arithmetic))


@pytest.mark.parametrize(
    ("order", "terms"), [("lanes:256", 206), ("lanes:512", 411), ("lanes:512", 588), ("lanes:1024", 876)]
)
@pytest.mark.parametrize("fma", [False, True])
def test_lanes_without_terms_shift_the_chains_across_a_chunk(order: str, terms: int, fma: bool) -> None:
    rng = np.random.default_rng(terms)
    a, b = rng.standard_normal((5, terms)).astype("f4"), rng.standard_normal((terms, 40)).astype("f4")
    expected = ops.sums(a, b, None, arithmetic=Arithmetic(order=order, fma=fma))
    assert same_bits(kernels.matmul(a, b, order=order, fma=fma), expected)


@given(st.integers(1, 9), st.integers(1, 700), st.booleans())
@settings(max_examples=200, deadline=None)
def test_four_terms_at_once_lie_in_one_chunk(log_width: int, terms: int, pairwise: bool) -> None:
    """And all pieces together take every term once, in order."""
    order = parse_order("pairwise" if pairwise else f"lanes:{1 << log_width}")
    pieces, lines, place, at = pieces_of(order, terms, 7, fours=True), 7, 0, 0
    for starts, length, _, skip in pieces.tolist():
        assert at == place // CHUNK * lines * CHUNK + place % CHUNK
        if starts == FOUR:
            assert length == 4 and place % CHUNK + 4 <= CHUNK
        place, at = place + length, at + skip
    assert place == terms


def operands(a: Any, b: Any, arithmetic: Arithmetic) -> tuple[Any, Any]:
    return stored(a, arithmetic.operand), stored(b, arithmetic.operand)


@pytest.mark.parametrize("how", [{}, {"order": "pairwise:8"}, {"precision": "double-double"}], ids=str)
@pytest.mark.parametrize("shape", [(1, 1), (1, 1000), (49, 512), (300, 33), (1000, 1)])
def test_threads_change_no_bit(how: dict[str, Any], shape: tuple[int, int]) -> None:
    """One chain in a register, chains on a stack, and pairs; shared by rows, by columns and not at all."""
    rng = np.random.default_rng(5)
    a, b = rng.standard_normal((shape[0], 300)).astype("f4"), rng.standard_normal((300, shape[1])).astype("f4")
    alone = kernels.matmul(a, b, threads=1, **how)
    for threads in (2, 3, 7):
        assert same_bits(kernels.matmul(a, b, threads=threads, **how), alone)


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


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize(
    ("size", "strides"), [((3, 3), (2, 2)), ((2, 3), (1, 2)), ((3, 2), (3, 1)), ((1, 1), (2, 3)), ((9, 12), (1, 1))]
)
def test_max_pool_takes_its_windows_where_the_definition_does(dtype: str, size: Any, strides: Any) -> None:
    """Windows that overlap or leave gaps, in images that are not square, with several channels."""
    rng = np.random.default_rng(4)
    x = rng.choice([0.0, -0.0, np.nan, np.inf, -np.inf, *rng.standard_normal(60)], (2, 9, 12, 5)).astype(dtype)
    expected = ops.max_pool(x, size=size, strides=strides)
    assert same_bits(kernels.pooling.max_pool(x, size=size, strides=strides, threads=2), expected)
    apart = np.repeat(x, 2, axis=2)[:, :, ::2]  # the same numbers, not next to each other
    assert same_bits(kernels.pooling.max_pool(apart, size=size, strides=strides, threads=1), expected)


@pytest.mark.parametrize("order", ["sequential", "reversed", "pairwise"])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_arrays_that_come_in_are_not_changed(precision: str, order: str) -> None:
    """Of the storage type, so that the kernel gets the caller's own where it can, and read-only ones are taken too."""
    rng, storage = np.random.default_rng(0), PRECISIONS[precision].storage
    x, kernel, bias = (random_numbers(rng, s, storage, 0) for s in ((1, 5, 5, 3), (3, 3, 3, 4), (4,)))
    planes = [plane for number in (x, kernel, bias) for plane in (number if isinstance(number, tuple) else (number,))]
    before = [plane.copy() for plane in planes]
    for plane in planes:
        plane.flags.writeable = False
    kernels.conv2d(x, kernel, bias, precision=precision, order=order)
    kernels.conv2d(x, kernel, bias, precision=precision, order=order, bias_at="first", padding=((1, 1), (1, 1)))
    kernels.mean_pool(x, precision=precision, order=order)
    kernels.pooling.max_pool(x, size=(2, 2), strides=(1, 1), threads=1)
    assert all(map(same_bits, planes, before))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: conv2d((1, 4, 4, 3), (3, 3, 2, 1)), "x of 3 channels, a kernel of 2; expected the same number"),
        (lambda: conv2d((4, 4, 3), (3, 3, 3, 1)), r"x of shape \(4, 4, 3\) and dtype float64; expected 4 axes"),
        (lambda: conv2d((0, 4, 4, 3), (3, 3, 3, 1)), r"x of shape \(0, 4, 4, 3\)"),
        (lambda: conv2d((1, 2, 2, 3), (3, 3, 3, 1)), r"a kernel of \(3, 3\) on a padded image of \(2, 2\)"),
        (lambda: conv2d((1, 4, 4, 3), (3, 3, 3, 1), (2,)), "a bias of 2 numbers; expected 1, one for each filter"),
        (lambda: conv2d((1, 4, 4, 3), (3, 3, 3, 1), (1, 1)), r"bias of shape \(1, 1\)"),
        (lambda: conv2d((1, 4, 4, 3), (3, 3, 3, 1), strides=(0, 1)), r"strides=\(0, 1\).*strides of 1 and more"),
        (lambda: conv2d((1, 4, 4, 3), (3, 3, 3, 1), padding=((0, -1), (0, 0))), "no negative padding"),
        (lambda: kernels.matmul(np.ones((2, 3)), np.ones((2, 3))), r"a of shape \(2, 3\) and b of shape \(2, 3\)"),
        (lambda: kernels.matmul(np.array([["a"]]), np.array([["b"]])), "dtype <U1; expected 4 axes of real numbers"),
        (lambda: kernels.dot(np.ones(3), np.ones(4)), r"vectors of shapes \(3,\) and \(4,\)"),
        (lambda: kernels.dot(np.ones(3), np.ones(3), order="blocks:1,1"), "has 2 terms, the sum has 3"),
        (lambda: kernels.dot(np.ones(3), np.ones(3), order="kahan", fma=True), "fma=True with order='kahan'"),
        (lambda: kernels.dot(np.ones(3), np.ones(3), threads=0), "threads=0; expected .*at least 1"),
        (lambda: kernels.dot(np.ones(3), np.ones(3), precision="mp50"), "precision='mp50' by kernels"),
    ],
)
def test_bad_input_is_one_clear_error(call: Callable[[], object], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)


def conv2d(*shapes: tuple[int, ...], **how: Any) -> Any:
    """The convolution of arrays of ones."""
    return kernels.conv2d(*map(np.ones, shapes), **how)
