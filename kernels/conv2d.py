"""Convolutions and matrix products in any order: arrays in, arrays out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numba import types

from ..arithmetic import Arithmetic
from ..arithmetic.formats import Array
from . import convolution
from .jit import compiled
from .pack import pack_columns, pieces_of, schedule_of
from .rounding import operands
from .threads import run_all
from .tile import CHUNK, NORMS, Tile, tile_for

Pair = tuple[int, int]
Padding = tuple[Pair, Pair]
NO_PADDING: Padding = ((0, 0), (0, 0))
BLOCK_BYTES = 1 << 19  # packed rows of one share, about half of a core's second cache
SHARES_A_THREAD = 4


@dataclass(frozen=True)
class PackedKernel:
    """A convolution's kernel in the order in which tiles read it: (panels, K, columns)."""

    shape: tuple[int, int, int, int]
    columns: int
    data: Array


@dataclass(frozen=True)
class Epilogue:
    """What follows the sum while the outputs are in registers: batch normalisation, shortcut, ReLU, in that order.

    norm: a name in NORMS.  vectors: (mean, s, beta) where it is centred, (s, t) where it is shifted.
    """

    norm: str = "none"
    vectors: tuple[Array, ...] = ()
    shortcut: Array | None = None
    relu: bool = False


def pack_kernel(kernel: Array, arithmetic: Arithmetic) -> PackedKernel:
    """A kernel of the storage format, made ready for all convolutions of one order and accumulate format."""
    tile = tile_for(arithmetic, 1)
    height, width, channels, filters = kernel.shape
    matrix = operands(kernel, arithmetic.operand).reshape(-1, filters)
    return PackedKernel(
        (height, width, channels, filters), tile.columns, pack_columns(matrix, arithmetic.summation, tile)
    )


def convolve(
    x: Array,
    kernel: PackedKernel,
    bias: Array | None,
    *,
    strides: Pair,
    padding: Padding,
    arithmetic: Arithmetic,
    threads: int,
    epilogue: Epilogue | None = None,
) -> Array:
    """ops.conv2d and what follows it, of a picture in the storage format: (n, oh, ow, filters) in that format.

    bias: in the storage format.  The epilogue's vectors are in the elementwise format.
    """
    epilogue = epilogue or Epilogue()
    (top, bottom), (left, right) = padding
    images, height, width, channels = x.shape
    kernel_h, kernel_w, _, filters = kernel.shape
    out_h = (height + top + bottom - kernel_h) // strides[0] + 1
    out_w = (width + left + right - kernel_w) // strides[1] + 1
    pixels, terms = images * out_h * out_w, kernel_h * kernel_w * channels
    tile = tile_for(arithmetic, pixels)
    schedule = schedule_of(arithmetic.summation, terms)
    working = tile.sums.working
    shape = np.array([images, height, width, channels, kernel_h, kernel_w, *strides, top, left, out_h, out_w, filters])
    y = np.empty((images, out_h, out_w, filters), working)
    none = np.empty(0, working)

    def padded(vector: Array | None) -> Array:
        return none if vector is None else _padded(vector.astype(working), len(kernel.data) * kernel.columns)

    first, second, third = (padded(vector) for vector in (*epilogue.vectors, None, None, None)[:3])
    start, last = (padded(bias), none) if arithmetic.bias == "first" else (none, padded(bias))
    shortcut = none if epilogue.shortcut is None else epilogue.shortcut.astype(working, copy=False).reshape(-1)
    pieces = pieces_of(arithmetic.summation, terms, tile.rows)
    permutation = np.ascontiguousarray(schedule.permutation, np.int64)
    tile_size = -(-terms // CHUNK) * tile.rows * CHUNK
    source = np.ascontiguousarray(operands(x, arithmetic.operand)).reshape(-1)
    code = _compiled(tile, source.dtype)

    def run(share: Pair4) -> None:
        packed = np.empty((share[1] - share[0]) * tile_size, working)
        stack = np.empty(schedule.depth * tile.rows * tile.columns, working)
        edge = np.empty(tile.rows * tile.columns, working)
        code(
            tile.code, tile.rows, tile.columns, source, shape, permutation, schedule.in_place, kernel.data.reshape(-1),
            pieces.reshape(-1), y.reshape(-1), start, last, NORMS.index(epilogue.norm), first, second, third, shortcut,
            int(epilogue.relu), np.array(share), packed, stack, edge,
        )  # fmt: skip

    run_all(run, _shares(-(-pixels // tile.rows), len(kernel.data), tile_size * y.itemsize, threads), threads)
    return y.astype(arithmetic.storage.working, copy=False)


Pair4 = tuple[int, int, int, int]


def _shares(tiles: int, panels: int, tile_bytes: int, threads: int) -> Iterator[Pair4]:
    """(first tile, end, first panel, end) of each share: rows that fit the cache; few rows are shared by columns."""
    wanted = threads * SHARES_A_THREAD if threads > 1 else 1
    block = min(max(1, BLOCK_BYTES // tile_bytes), -(-tiles // min(wanted, tiles)))
    blocks = -(-tiles // block)
    across = 1 if blocks >= threads else min(panels, -(-wanted // blocks))
    for i in range(blocks):
        for j in range(across):
            yield (
                tiles * i // blocks, tiles * (i + 1) // blocks, panels * j // across, panels * (j + 1) // across
            )  # fmt: skip


def _padded(vector: Array, size: int) -> Array:
    return np.concatenate([vector, np.zeros(size - len(vector), vector.dtype)])


def _compiled(tile: Tile, source: np.dtype[np.floating]):  # type: ignore[no-untyped-def]
    integers, flag = types.Array(types.int64, 1, "C"), types.boolean
    fixed = types.Array(types.int64, 1, "C", readonly=True)
    numbers = types.Array(types.float32 if tile.sums.working is np.float32 else types.float64, 1, "C")
    x = types.Array(types.float32 if source == np.float32 else types.float64, 1, "C")
    return compiled(
        convolution.convolve, types.literal(tile.code), types.int64, types.int64, x, integers, integers, flag, numbers,
        fixed, numbers, *[numbers] * 2, types.int64, *[numbers] * 4, types.int64, integers, *[numbers] * 3,
    )  # fmt: skip
