"""mpN at speed has the bits of its definition: whole networks, every shape of convolution, and hard numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import refnet
from refnet.arithmetic.big_floats import BigFloats
from refnet.errors import InputError
from refnet.forward import big_engine
from refnet.forward.big_engine import BigEngine
from refnet.forward.multiprecision import MultiprecisionEngine
from refnet.forward.scaled import Scaled
from refnet.forward.walk import walk
from refnet.graph import BATCH_NORM_EPSILON, Graph, resnet
from refnet.kernels.integer_products import SpreadError
from refnet.ops import Padding, Pair
from refnet.weights import Weights

NO_PADDING: Padding = ((0, 0), (0, 0))
CONVOLUTIONS = sorted(
    {
        (node.weights["kernel"], node.settings["strides"], node.settings["padding"])
        for node in resnet(50).nodes
        if node.operation == "conv2d"
    }
)  # kernel, strides and padding of all 53


def engines(digits: int) -> tuple[BigEngine, MultiprecisionEngine]:
    definition = MultiprecisionEngine.of_digits(digits)
    return BigEngine(definition, "layer", 2), definition


def same(fast: Any, plain: Any) -> bool:
    """Whether all numbers are equal; an mpmath.mpf is compared exactly."""
    numbers = plain.to_mpf() if isinstance(plain, Scaled) else plain
    return bool(fast.shape == numbers.shape and fast.to_mpf().tolist() == numbers.tolist())


def normal(shape: tuple[int, ...], seed: int, dtype: Any = np.float32) -> Any:
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def of_full_length(shape: tuple[int, ...], seed: int, bits: int) -> tuple[BigFloats, Scaled]:
    """The same numbers for both engines, all of their bits drawn, exponents some tens apart, and zeros."""
    source = np.random.default_rng(seed)
    count = int(np.prod(shape))
    words = source.integers(0, 2**63, (count, bits // 63 + 1)).tolist()
    integers = [sum(word << 63 * place for place, word in enumerate(row)) >> 63 - bits % 63 for row in words]
    shifts, signs = source.integers(0, 40, count).tolist(), source.integers(-1, 2, count).tolist()
    numbers = np.empty(count, object)
    numbers[:] = [sign * (integer << shift) for integer, shift, sign in zip(integers, shifts, signs, strict=True)]
    plain = Scaled(numbers.reshape(shape), -bits - 20).rounded(bits)
    return BigFloats.from_integers(plain.integers, plain.exponent, bits), plain


# ---- whole networks


def faults(weights: Weights, size: int, digits: int, **dtype: Any) -> list[str]:
    """Layers in which the two engines differ."""
    x = np.random.default_rng(digits).uniform(-120, 150, (1, size, size, 3)).astype(dtype.get("dtype", np.float32))
    how = {"precision": f"mp{digits}"}
    fast, plain = refnet.activations(x, weights, **how), refnet.activations(x, weights, engine="spec", **how)
    assert list(fast) == list(plain) and len(fast) == 177
    return [name for name in plain if not same(fast[name], plain[name])]


@pytest.mark.exhaustive
@pytest.mark.parametrize("digits", [15, 20, 50, 200])
def test_every_layer_has_the_bits_of_the_definition(digits: int, synthetic: Weights) -> None:
    assert faults(synthetic, 32, digits) == []


@pytest.mark.exhaustive
@pytest.mark.parametrize("digits", [20, 50, 200])
def test_every_layer_has_them_for_larger_pictures(digits: int, synthetic: Weights) -> None:
    assert faults(synthetic, 64, digits) == []


@pytest.mark.exhaustive
def test_every_layer_has_them_with_weights_and_pictures_of_float64(synthetic: Weights) -> None:
    """Each weight has bits below float32's last one."""
    wide = {name: tensor.astype(np.float64) * (1 + 2.0**-40 / 3) for name, tensor in synthetic.items()}
    assert faults(Weights(wide), 32, 20, dtype=np.float64) == []


@pytest.mark.slow
@pytest.mark.parametrize("digits", [5, 20, 50, 200])
def test_the_first_blocks_have_the_bits_of_the_definition(digits: int, synthetic: Weights) -> None:
    whole = synthetic.graph((32, 32))
    first = Graph(whole.name, whole.variant, whole.nodes[: whole.names.index("conv2_block1_out") + 1])
    x = np.random.default_rng(digits).uniform(-120, 150, (1, *first.input_shape)).astype(np.float32)
    seen: list[dict[str, Any]] = []
    kept: dict[str, Any] = {}
    definition = MultiprecisionEngine.of_digits(digits)
    fast = {name: BigEngine(definition, name, 2, kept) for name in first.names}
    for by_layer in (fast, dict.fromkeys(first.names, definition)):
        seen.append({})
        walk(first, synthetic, by_layer, x, probe=lambda node, y, trace=seen[-1]: trace.update({node.name: y}))
    assert [name for name in first.names if not same(seen[0][name], seen[1][name])] == []


# ---- single layers


def both_convolve(
    digits: int, kernel: Any, strides: Pair, padding: Padding = NO_PADDING, shape: tuple[int, int] | None = None
) -> bool:
    fast, plain = engines(digits)
    rows, columns = shape or (kernel.shape[0] + strides[0], kernel.shape[1])
    image = (1, rows - sum(padding[0]), columns - sum(padding[1]), kernel.shape[2])
    x, y = of_full_length(image, 1, fast.precision)
    bias = normal(kernel.shape[3:], 3, kernel.dtype)
    how: Any = {"strides": strides, "padding": padding}
    return same(fast.conv2d(x, kernel, bias, **how), plain.conv2d(y, kernel, bias, **how))


@pytest.mark.parametrize(("shape", "strides", "padding"), CONVOLUTIONS)
def test_some_filters_of_every_convolution(shape: Any, strides: Pair, padding: Padding) -> None:
    """Two pixels of outputs; the terms of a sum are as many as in the network."""
    assert both_convolve(50, normal((*shape[:3], 24), 2), strides, padding)


@pytest.mark.exhaustive
@pytest.mark.parametrize("digits", [20, 200])
@pytest.mark.parametrize(("shape", "strides", "padding"), CONVOLUTIONS)
def test_every_convolution(shape: Any, strides: Pair, padding: Padding, digits: int) -> None:
    assert both_convolve(digits, normal(shape, 2), strides, padding)


@pytest.mark.parametrize("digits", [5, 50, 200])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_kernels_of_every_format_and_precision(digits: int, dtype: Any) -> None:
    """Below 24 bits, and below float64's 53, kernels are rounded as they enter."""
    kernel = normal((3, 3, 7, 5), 4, dtype) * dtype(0.7)
    assert both_convolve(digits, kernel, (2, 1), ((1, 1), (0, 1)), (9, 8))


def test_the_classifier() -> None:
    fast, plain = engines(50)
    x, y = of_full_length((2, 2048), 5, fast.precision)
    kernel, bias = normal((2048, 100), 6), normal((100,), 7)
    assert same(fast.dense(x, kernel, bias), plain.dense(y, kernel, bias))


@pytest.mark.parametrize("digits", [5, 20, 50, 200])
def test_layers_that_multiply_by_no_kernel(digits: int) -> None:
    fast, plain = engines(digits)
    (x, y), (other, another) = (of_full_length((2, 6, 7, 5), seed, fast.precision) for seed in (8, 9))
    vectors = [*normal((3, 5), 10), abs(normal((5,), 11))]
    pool: Any = {"size": (3, 3), "strides": (2, 2)}
    pairs = {
        "pad": (fast.pad(x, ((1, 0), (2, 1))), plain.pad(y, ((1, 0), (2, 1)))),
        "relu": (fast.relu(x), plain.relu(y)),
        "max_pool": (fast.max_pool(x, **pool), plain.max_pool(y, **pool)),
        "add": (fast.add(x, other), plain.add(y, another)),
        "mean_pool": (fast.mean_pool(x), plain.mean_pool(y)),
        "batch_norm": (
            fast.batch_norm(x, *vectors, epsilon=BATCH_NORM_EPSILON),
            plain.batch_norm(y, *vectors, epsilon=BATCH_NORM_EPSILON),
        ),
    }
    assert [name for name, pair in pairs.items() if not same(*pair)] == []
    rows, others = fast.mean_pool(x), plain.mean_pool(y)
    assert fast.softmax(rows).tolist() == plain.softmax(others).tolist()


# ---- hard numbers


@pytest.mark.parametrize("apart", [3000, 200_000])
def test_exponents_too_far_apart_for_residues_go_the_way_of_the_definition(
    apart: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    fast, plain = engines(50)
    raised: list[SpreadError] = []
    convolve = big_engine.convolve_numbers

    def told(*inputs: Any, **how: Any) -> Any:
        try:
            return convolve(*inputs, **how)
        except SpreadError as error:
            raised.append(error)
            raise

    monkeypatch.setattr(big_engine, "convolve_numbers", told)
    integers = np.array([1, 3 << apart, 5, -(3 << apart), 7, 0, 9 << apart, 1], object).reshape(1, 2, 2, 2)
    y = Scaled(integers, -apart // 2)
    x = BigFloats.from_integers(integers, y.exponent, fast.precision)
    kernel, bias = np.array([1.0, 1.0]).reshape(1, 1, 2, 1).astype(np.float32), np.array([0.25], np.float32)
    how: Any = {"strides": (1, 1), "padding": ((1, 0), (0, 0))}
    assert same(fast.conv2d(x, kernel, bias, **how), plain.conv2d(y, kernel, bias, **how)) and len(raised) == 1
    assert raised[0].bits > raised[0].limit


def test_numbers_that_only_floats_of_unbounded_exponent_have_room_for() -> None:
    """All near 2^-40000, as no float64 is; and all zeros."""
    fast, plain = engines(20)
    x, y = of_full_length((1, 3, 3, 4), 12, fast.precision)
    tiny = BigFloats(x.signs, x.significands, np.where(x.signs != 0, x.exponents - 40_000, 0), x.bits)
    kernel = normal((2, 2, 4, 3), 13)
    how: Any = {"strides": (1, 1), "padding": NO_PADDING}
    expected = plain.conv2d(Scaled(y.integers, y.exponent - 40_000), kernel, None, **how)
    assert same(fast.conv2d(tiny, kernel, None, **how), expected)
    zeros = BigFloats.zeros((1, 3, 3, 4), x.bits)
    bias = normal((3,), 14)
    nothing = plain.conv2d(Scaled(y.integers * 0, 0), kernel * 0, bias, **how)
    assert same(fast.conv2d(zeros, kernel * 0, bias, **how), nothing)


def test_sums_that_cancel_to_nothing_are_zero() -> None:
    fast, plain = engines(50)
    _, y = of_full_length((1, 1, 1, 300), 15, fast.precision)
    twice = Scaled(np.concatenate([y.integers] * 2, axis=-1), y.exponent)
    both = BigFloats.from_integers(twice.integers, twice.exponent, fast.precision)
    weights = normal((300, 4), 16)
    kernel = np.concatenate([weights, -weights]).reshape(1, 1, 600, 4)
    sums = fast.conv2d(both, kernel, None, strides=(1, 1), padding=NO_PADDING)
    assert same(sums, plain.conv2d(twice, kernel, None, strides=(1, 1), padding=NO_PADDING))
    assert not sums.signs.any() and not sums.exponents.any()


def test_pictures_that_are_not_finite_are_refused(synthetic: Weights) -> None:
    x = np.full((1, 32, 32, 3), np.nan, np.float32)
    with pytest.raises(InputError, match="NaN or infinity"):
        refnet.predict(x, synthetic, precision="mp50")
