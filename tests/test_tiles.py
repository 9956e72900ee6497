"""The size of the register tile, its vectors and the shares of work decide how fast, never which bits."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
import pytest
from arithmetics import random_numbers
from test_kernels import same_bits

from refnet import ops
from refnet.arithmetic import Arithmetic, Format
from refnet.kernels import any_order, convolution
from refnet.kernels.tile import Tile, tile_for

# one of each kind of code: chains on both kinds of stack, fused or not, one chain, pairs, and those of exact sums
ARITHMETICS = (
    Arithmetic(order="pairwise:8", batch_norm="shifted-fma", relu="signed-zero"),
    Arithmetic(order="pairwise:40", batch_norm="shifted-fma", relu="signed-zero"),
    Arithmetic(order="tree:((0..90)+(91..160,201..278),161..200)", fma=False, bias="first"),  # goes on from a sum
    Arithmetic("bfloat16", fma=False, bias="first"),
    Arithmetic("double-double", batch_norm="shifted"),
    Arithmetic("float64", order="exact"),  # sums and errors apart
    Arithmetic("bfloat16", order="exact", batch_norm="shifted"),
)
SIZES = ((1, 3, 1), (3, 2, 2), (7, 1, 1))  # rows, vectors, and by what a vector is shorter than the machine's
SHAPE, FILTERS = (2, 5, 6, 31), 37  # 3 x 3 x 31 terms are more than a chunk; 37 filters fill no whole number of vectors


@pytest.fixture
def forced(monkeypatch: pytest.MonkeyPatch, size: tuple[int, int, int]) -> Iterator[list[Tile]]:
    """Every tile has this size and every share one tile; the tiles that were asked for."""
    rows, vectors, shorter = size
    asked: list[Tile] = []

    def tile(arithmetic: Arithmetic, pixels: int, **how: bool) -> Tile:
        own = tile_for(arithmetic, pixels, **how)
        asked.append(dataclasses.replace(own, rows=rows, vectors=vectors, lanes=own.lanes // shorter))
        return asked[-1]

    monkeypatch.setattr(convolution, "tile_for", tile)
    monkeypatch.setattr(convolution, "CACHE_BYTES", 1)
    monkeypatch.setattr(convolution, "BLOCK_ROWS", 1)
    convolution._plan.cache_clear()  # plans remember their tile
    yield asked
    convolution._plan.cache_clear()


@pytest.mark.parametrize("arithmetic", ARITHMETICS, ids=lambda a: f"{a.precision}-{a.order}")
@pytest.mark.parametrize("size", SIZES, ids=lambda size: "rows {}, vectors {}, 1/{} long".format(*size))
def test_every_tile_has_the_bits_of_the_definition(
    arithmetic: Arithmetic, size: tuple[int, int, int], forced: list[Tile]
) -> None:
    """A convolution, alone and with all that may follow it in registers."""
    rng = np.random.default_rng(1)

    def draw(*shape: int, format_: Format = arithmetic.storage) -> np.ndarray:
        return random_numbers(rng, shape, format_, 0)

    x, kernel, bias, shortcut = draw(*SHAPE), draw(3, 3, SHAPE[-1], FILTERS), draw(FILTERS), draw(2, 5, 6, FILTERS)
    gamma, beta, mean, variance = (abs(draw(FILTERS, format_=arithmetic.parameters)) for _ in range(4))
    how = {"strides": (1, 1), "padding": ((1, 1), (1, 1)), "arithmetic": arithmetic}
    expected = ops.conv2d(x, kernel, bias, **how)
    packed = any_order.prepare(kernel, arithmetic)
    assert same_bits(any_order.convolve(x, packed, bias, threads=2, **how), expected)

    norm = {"epsilon": 1e-3, "arithmetic": arithmetic}
    vectors = ops.norm_vectors(gamma, beta, mean, variance, **norm)
    epilogue = convolution.Epilogue(arithmetic.norm.applied, vectors, shortcut, arithmetic.relu)
    normed = ops.batch_norm(expected, gamma, beta, mean, variance, **norm)
    followed = ops.relu(ops.add(normed, shortcut, arithmetic=arithmetic), arithmetic.relu)
    assert same_bits(any_order.convolve(x, packed, bias, threads=2, epilogue=epilogue, **how), followed)
    assert len(forced) == 2 and {(tile.rows, tile.vectors) for tile in forced} == {size[:2]}
