"""Convolutions in any order and format: what is prepared once, what is planned for each shape, and the run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numba import types

from ..arithmetic import Arithmetic, DoubleDouble, planewise, shape_of
from ..arithmetic.formats import Array
from ..arithmetic.orders import schedule_of
from ..arithmetic.schedule import Indices
from ..ops import Padding, Pair
from .jit import compiled
from .pack import pack_columns, pieces_of
from .rounding import operands
from .share import convolve_share
from .threads import run_all
from .tile import CHUNK, NORMS, Tile, tile_for

Share = tuple[int, int, int, int]
NO_PADDING: Padding = ((0, 0), (0, 0))
BLOCK_BYTES = 1 << 21  # packed rows of one share: they are read again for every panel, from the outer caches
SHARES_A_THREAD = 2
FEW_TILES = 4  # a thread: fewer cannot be shared evenly by rows


@dataclass(frozen=True)
class PackedKernel:
    """A convolution's kernel in the order in which tiles read it: (panels, K, planes, columns).

    planes: of the numbers that the tile's vectors hold.
    """

    shape: tuple[int, int, int, int]
    planes: int
    data: Array

    def vector(self, numbers: Any) -> Array:
        """One number for each column, those of the last panel that have no filter included; empty for None."""
        if numbers is None:
            return np.empty(0, self.data.dtype)
        filled = np.zeros((self.planes, self.data.shape[0] * self.data.shape[-1]), self.data.dtype)
        for plane, values in enumerate(numbers if isinstance(numbers, tuple) else (numbers,)):
            filled[plane, : len(values)] = values
        return filled.reshape(-1)


@dataclass(frozen=True)
class Epilogue:
    """What follows the sum while the outputs are in registers: batch normalisation, shortcut, ReLU, in that order.

    norm: a name in NORMS.  vectors: (mean, s, beta) where it is centred, (s, t) where it is shifted.
    """

    norm: str = "none"
    vectors: tuple[Any, ...] = ()
    shortcut: Any = None
    relu: bool = False


PLAIN = Epilogue()


def pack_kernel(kernel: Any, arithmetic: Arithmetic) -> PackedKernel:
    """A kernel of the storage format, made ready for all convolutions of one order and accumulate format."""
    height, width, channels, filters = shape_of(kernel)
    matrix = planewise(lambda plane: plane.reshape(-1, filters), _operands(kernel, arithmetic))
    packed = pack_columns(matrix, arithmetic.summation, tile_for(arithmetic, 1))
    return PackedKernel((height, width, channels, filters), arithmetic.sums.planes, packed)


def convolve(
    x: Any,
    kernel: PackedKernel,
    bias: Any,
    *,
    strides: Pair,
    padding: Padding,
    arithmetic: Arithmetic,
    threads: int,
    epilogue: Epilogue = PLAIN,
) -> Any:
    """ops.conv2d and what follows it, of a picture in the storage format: (n, oh, ow, filters) in that format.

    bias: in the storage format.  The epilogue's vectors are in the elementwise format.
    """
    source = _flat(_operands(x, arithmetic))
    plan = _plan(shape_of(x), kernel.shape, strides, padding, arithmetic, source.dtype.str, threads)
    working = kernel.data.dtype
    y = np.empty((arithmetic.storage.planes, *plan.output), working)
    shortcut = (
        np.empty(0, working) if epilogue.shortcut is None else _flat(epilogue.shortcut).astype(working, copy=False)
    )
    first = arithmetic.bias == "first"
    vectors = (bias if first else None, None if first else bias, *epilogue.vectors, None, None, None)
    start, last, *norm = (kernel.vector(vector) for vector in vectors[:5])
    numbers, data = y.reshape(-1), kernel.data.reshape(-1)
    form, relu = NORMS.index(epilogue.norm), int(epilogue.relu)

    def run(share: Share) -> None:
        packed = np.empty((share[1] - share[0]) * plan.tile_size, working)
        room = np.empty(plan.stack_size + plan.tile.lines * plan.tile.columns, working)
        plan.code(
            plan.tile_code, plan.tile.rows, plan.tile.columns, source, plan.shape, plan.permutation, plan.in_place,
            data, plan.pieces, numbers, start, last, form, *norm, shortcut, relu, *share,
            packed, room[: plan.stack_size], room[plan.stack_size :],
        )  # fmt: skip

    run_all(run, plan.shares, threads)
    y = y.astype(arithmetic.storage.working, copy=False)
    return DoubleDouble(*y) if len(y) == 2 else y[0]


def _operands(number: Any, arithmetic: Arithmetic) -> Any:
    """Numbers of the storage format, rounded to the operand format where that is another one."""
    return number if arithmetic.operand == arithmetic.storage else operands(number, arithmetic.operand)


def _flat(number: Any) -> Array:
    """All numbers in one row, the planes of a pair one after another."""
    if isinstance(number, tuple):
        return np.concatenate([plane.reshape(-1) for plane in number])
    flat: Array = np.ascontiguousarray(number).reshape(-1)
    return flat


@dataclass(frozen=True)
class _Plan:
    """What the shapes, the arithmetic and the threads of a convolution decide."""

    tile: Tile
    tile_code: int
    code: Callable[..., None]
    output: tuple[int, int, int, int]
    shape: Indices
    permutation: Indices
    in_place: bool
    pieces: Indices
    tile_size: int
    stack_size: int
    shares: tuple[Share, ...]


@lru_cache(maxsize=1024)
def _plan(
    image: tuple[int, ...],
    kernel: tuple[int, int, int, int],
    strides: Pair,
    padding: Padding,
    arithmetic: Arithmetic,
    source: str,
    threads: int,
) -> _Plan:
    (top, bottom), (left, right) = padding
    images, height, width, channels = image
    kernel_h, kernel_w, _, filters = kernel
    out_h = (height + top + bottom - kernel_h) // strides[0] + 1
    out_w = (width + left + right - kernel_w) // strides[1] + 1
    pixels, terms = images * out_h * out_w, kernel_h * kernel_w * channels
    schedule = schedule_of(arithmetic.summation, terms)
    tile = tile_for(arithmetic, pixels, stacks=len(schedule.lengths) > 1)
    tile_size = -(-terms // CHUNK) * tile.lines * CHUNK
    tiles, panels = -(-pixels // tile.rows), -(-filters // tile.columns)
    sizes = (images, height, width, channels, kernel_h, kernel_w, *strides, top, left, out_h, out_w, filters)
    return _Plan(
        tile=tile,
        tile_code=tile.code,
        code=_compiled(tile, source),
        output=(images, out_h, out_w, filters),
        shape=np.array([*sizes, tile.storage.planes]),
        permutation=np.ascontiguousarray(schedule.permutation, np.int64),
        in_place=schedule.in_place,
        pieces=pieces_of(arithmetic.summation, terms, tile.lines).reshape(-1),
        tile_size=tile_size,
        stack_size=schedule.depth * tile.rows * tile.columns * tile.sums.planes,
        shares=tuple(_shares(tiles, panels, tile_size * np.dtype(tile.sums.working).itemsize, threads)),
    )


def _shares(tiles: int, panels: int, tile_bytes: int, threads: int) -> Iterator[Share]:
    """(first tile, end, first panel, end) of each share.

    Many tiles are shared by rows, as many of them as the cache holds when they are packed; few by columns, each share
    packing all rows. The shares are a multiple of the threads, and several for each, since cores are not alike.
    """
    blocks = -(-tiles // max(1, BLOCK_BYTES // tile_bytes))
    across = 1
    if threads > 1 and tiles < FEW_TILES * threads:
        across = min(panels, SHARES_A_THREAD * threads)
    elif threads > 1:
        blocks = min(tiles, -(-max(blocks, SHARES_A_THREAD * threads) // threads) * threads)
    for i in range(blocks):
        for j in range(across):
            rows = (tiles * i // blocks, tiles * (i + 1) // blocks)
            yield (*rows, panels * j // across, panels * (j + 1) // across)


def _compiled(tile: Tile, source: str) -> Callable[..., Any]:
    integers, fixed = (types.Array(types.int64, 1, "C", readonly=readonly) for readonly in (False, True))
    working = np.dtype(tile.sums.working).str
    numbers, x = (types.Array(_NUMBA[dtype], 1, "C") for dtype in (working, source))
    return compiled(
        convolve_share, types.literal(tile.code), types.int64, types.int64, x, integers, integers, types.boolean,
        numbers, fixed, *[numbers] * 3, types.int64, *[numbers] * 4, types.int64, *[types.int64] * 4, *[numbers] * 3,
    )  # fmt: skip


_NUMBA = {np.dtype(dtype).str: getattr(types, dtype) for dtype in ("float32", "float64")}
