"""The small matrix products inside conversions: a table times columns of numbers, integers below 2^53 in float64.

Numbers are cut into pieces of some bits. A piece's width is as large as the sums' exactness allows.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..arithmetic import Arithmetic
from ..arithmetic.formats import Array
from .convolution import NO_PADDING, PackedKernel, convolve
from .primes import EXACT
from .tile import tile_for

EXACTLY = Arithmetic("float64")  # of integers below 2^53: neither order nor fma matters
BLOCK_NUMBERS = 1 << 17  # of pieces and results together, for one block of columns: they stay in a core's own cache
GROUP = 4  # a tile's columns are a multiple of this on every machine: loops of known length become vectors
SMALLEST_BLOCK, LARGEST_BLOCK = 1024, 8192


def piece_width(bits: int, residue: int, terms: int = 0) -> int:
    """The largest width for which pieces times residues sum to at most 2^53.

    The sum has `terms` terms, or as many as a number of `bits` bits has pieces.
    """
    return next(width for width in range(48, 0, -1) if (terms or max(1, -(-bits // width))) * residue << width <= EXACT)


def whole_tiles(table: Array) -> Array:
    """The table with rows of zeros below, up to the end of a tile: what is left over of a tile is slow."""
    return np.pad(table, ((0, -table.shape[0] % tile_for(EXACTLY, 1).rows), (0, 0)))


def empty_columns(terms: int, count: int) -> Array:
    """Room for `terms` x `count` numbers as `product` takes them: (panels, terms, columns), number j of each row at
    [j // columns, :, j % columns]."""
    columns = tile_for(EXACTLY, 1).columns
    return np.empty((-(-count // columns), terms, columns))


def product(table: Array, packed: Array) -> Array:
    """table (rows, K), of whole_tiles, times K x N numbers, of empty_columns: float64 (rows, N).

    N counts all columns of the last panel, those that hold nothing too.
    """
    rows, terms = table.shape
    count = packed.shape[0] * packed.shape[2]
    columns = PackedKernel((1, 1, terms, count), 1, packed[:, :, None])
    how: dict[str, Any] = {"strides": (1, 1), "padding": NO_PADDING, "arithmetic": EXACTLY, "threads": 1}
    result: Array = convolve(table.reshape(1, 1, rows, terms), columns, None, **how)
    return result.reshape(rows, count)


def block_size(numbers: int) -> int:
    """How many columns to treat together, each with `numbers` pieces and results."""
    return min(LARGEST_BLOCK, max(SMALLEST_BLOCK, BLOCK_NUMBERS // max(1, numbers) // 256 * 256))
