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
from . import share
from .jit import compiled, native
from .pack import pack_columns, pieces_of
from .rounding import operands
from .threads import run_kernel
from .tile import CHUNK, NORMS, RECTIFIERS, Tile, stack_for, tile_for

Share = tuple[int, int, int, int]
NO_PADDING: Padding = ((0, 0), (0, 0))
CACHE_BYTES = 1 << 19  # packed rows of one share: they are read again for every panel ...
CACHE_LINE = 64
BLOCK_ROWS = 256  # ... but at least so many, since all columns are read again for every share
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
        """One number for each column, those of the last panel that have no filter included."""
        filled = np.zeros((self.planes, self.data.shape[0] * self.data.shape[-1]), self.data.dtype)
        for plane, values in enumerate(numbers if isinstance(numbers, tuple) else (numbers,)):
            filled[plane, : len(values)] = values
        return filled.reshape(-1)


@dataclass(frozen=True)
class Epilogue:
    """What follows the sum while the outputs are in registers: batch normalisation, shortcut, ReLU, in that order.

    norm: a name in NORMS.  vectors: (mean, s, beta) where it is centred, (s, t) where it is shifted; of ops.shifts_last
    the convolution's s and all that is added last, and the shortcut's s' if it has one; (1 / p, p) of modulo, which
    float64 only has.  relu: a name in RECTIFIERS.
    """

    norm: str = "none"
    vectors: tuple[Any, ...] = ()
    shortcut: Any = None
    relu: str = "none"


PLAIN = Epilogue()


def pack_kernel(kernel: Any, arithmetic: Arithmetic) -> PackedKernel:
    """A kernel of the storage format, made ready for all convolutions of one order and accumulate format."""
    height, width, channels, filters = shape_of(kernel)
    matrix = planewise(lambda plane: plane.reshape(-1, filters), rounded_operands(kernel, arithmetic))
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
    out: Array | None = None,
    unrounded: bool = False,
) -> Any:
    """ops.conv2d and what follows it, of a picture in the storage format: (n, oh, ow, filters) in that format.

    bias: in the storage format.  The epilogue's vectors are in the elementwise format.  out: where the outputs are
    written, contiguous and of the type of the tile's vectors; for formats of one plane.  unrounded: without an
    epilogue, the sums in the accumulate format; in double-double they are those of chains.Pair.
    """
    working = kernel.data.dtype
    source = _flat(rounded_operands(x, arithmetic)).astype(working, copy=False)
    plan = _plan(shape_of(x), kernel.shape, strides, padding, arithmetic, threads, unrounded)
    y = np.empty((plan.planes, *plan.output), working) if out is None else out.reshape(1, *plan.output)
    nothing = np.empty(0, working)
    shortcut = nothing if epilogue.shortcut is None else _flat(epilogue.shortcut).astype(working, copy=False)
    first = arithmetic.bias == "first"
    vectors = (bias if first else None, None if first else bias, *epilogue.vectors, None, None, None)
    columns = [nothing if vector is None else kernel.vector(vector) for vector in vectors[:5]]
    table = plan.table.copy()
    table[share.AFTER] = arithmetic.rounds_before(bias)
    table[share.FORM], table[share.RELU] = NORMS.index(epilogue.norm), RECTIFIERS.index(epilogue.relu)
    scratch = np.empty(table[share.SCRATCH_SIZE] * plan.threads, np.uint8)
    # what has an address in the table stays alive by the names in this function
    plan.place(table, source, kernel.data.reshape(-1), y.reshape(-1), *columns, shortcut, scratch)
    run_kernel(plan.function, plan.code, table.ctypes.data, plan.threads)
    y = y.astype(plan.type, copy=False)
    return DoubleDouble(*y) if len(y) == 2 else y[0]


def rounded_operands(number: Any, arithmetic: Arithmetic) -> Any:
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
    """What the shapes, the arithmetic and the threads of a convolution decide.

    type, planes: of the outputs.  place: writes arrays' addresses into a table.  function, code: what
    threads.run_kernel runs.  table: a convolution's, without what place writes and what follows the sum.  held: the
    arrays whose addresses are in it.
    """

    type: type[np.floating]
    planes: int
    place: Callable[..., None]
    function: int
    code: int
    output: tuple[int, int, int, int]
    threads: int
    table: Indices
    held: tuple[Indices, ...]


@lru_cache(maxsize=1024)
def _plan(
    image: tuple[int, ...],
    kernel: tuple[int, int, int, int],
    strides: Pair,
    padding: Padding,
    arithmetic: Arithmetic,
    threads: int,
    unrounded: bool,
) -> _Plan:
    (top, bottom), (left, right) = padding
    images, height, width, channels = image
    kernel_h, kernel_w, _, filters = kernel
    out_h = (height + top + bottom - kernel_h) // strides[0] + 1
    out_w = (width + left + right - kernel_w) // strides[1] + 1
    pixels, terms = images * out_h * out_w, kernel_h * kernel_w * channels
    schedule = schedule_of(arithmetic.summation, terms)
    tile = tile_for(arithmetic, pixels, stack=stack_for(schedule), unrounded=unrounded)
    size = np.dtype(tile.sums.working).itemsize
    tile_bytes = -(-terms // CHUNK) * tile.lines * CHUNK * size
    shares = list(_shares(-(-pixels // tile.rows), -(-filters // tile.columns), tile, tile_bytes, threads))
    pieces = pieces_of(arithmetic.summation, terms, tile.lines, fours=tile.adds_fours)
    permutation = np.ascontiguousarray([] if schedule.in_place else schedule.permutation, np.int64)
    held = (pieces, np.array(shares, np.int64), permutation)
    rooms = [
        tile.rows * tile.columns * tile.storage.planes,
        schedule.depth * tile.rows * tile.columns * tile.sums.planes,
        terms,
    ]
    places = np.cumsum([0] + [-(-room * size // CACHE_LINE) * CACHE_LINE for room in rooms]).tolist()
    scratch = places[-1] + max(end - first for first, end, *_ in shares) * tile_bytes
    table = np.zeros(share.ARGUMENTS, np.int64)
    table[: share.SHAPE_END] = (
        images, height, width, channels, kernel_h, kernel_w, *strides, top, left, out_h, out_w, filters,
        tile.operand_planes, tile.storage.planes, size, tile.rows, tile.columns,
        permutation.ctypes.data if len(permutation) else 0, pieces.ctypes.data, len(pieces), held[1].ctypes.data,
        len(shares), -(-scratch // CACHE_LINE) * CACHE_LINE, *places,
    )  # fmt: skip
    table[share.ACROSS] = -(-filters // tile.columns) * tile.columns
    function = native(share.convolve_shares, types.literal(tile.code), types.int64)
    output = (images, out_h, out_w, filters)
    used = threads if len(shares) > 1 else 1  # always the same team: several would spin side by side
    stored = tile.storage
    return _Plan(stored.working, stored.planes, _placing(tile), function, tile.code, output, used, table, held)


def _shares(tiles: int, panels: int, tile: Tile, tile_bytes: int, threads: int) -> Iterator[Share]:
    """(first tile, end, first panel, end) of each share.

    Many tiles are shared by rows, as many of them as the cache holds when they are packed; few by columns, each share
    packing all rows. The shares are a multiple of the threads, and several for each, since cores are not alike.
    """
    blocks = -(-tiles // max(1, BLOCK_ROWS // tile.rows, CACHE_BYTES // tile_bytes))
    across = 1
    if threads > 1 and tiles < FEW_TILES * threads:
        across = min(panels, SHARES_A_THREAD * threads)
    elif threads > 1:
        blocks = min(tiles, -(-max(blocks, SHARES_A_THREAD * threads) // threads) * threads)
    for i in range(blocks):
        for j in range(across):
            rows = (tiles * i // blocks, tiles * (i + 1) // blocks)
            yield (*rows, panels * j // across, panels * (j + 1) // across)


def _placing(tile: Tile) -> Callable[..., None]:
    """share.place_arrays for arrays of a tile's numbers."""
    integers, octets = types.Array(types.int64, 1, "C"), types.Array(types.uint8, 1, "C")
    numbers = types.Array(types.float32 if tile.sums.working is np.float32 else types.float64, 1, "C")
    return compiled(share.place_arrays, integers, *[numbers] * 9, octets)
