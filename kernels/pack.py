"""Operands in the order in which a tile reads them."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from ..arithmetic import Order
from ..arithmetic.formats import Array
from ..arithmetic.orders import schedule_of
from ..arithmetic.schedule import Indices
from .tile import CHUNK, Tile


@lru_cache(maxsize=256)
def pieces_of(order: Order, terms: int, rows: int) -> Indices:
    """The schedule cut at the ends of chunks: rows of (starts a chain, length, merges or -1, elements to skip in a)."""
    schedule = schedule_of(order, terms)
    pieces, position = [], 0
    for length, merges in zip(schedule.lengths.tolist(), schedule.merges.tolist(), strict=True):
        starts, left = 1, length
        while True:
            taken = min(left, CHUNK - position % CHUNK)
            position, left = position + taken, left - taken
            skip = taken if position % CHUNK or not taken else taken + (rows - 1) * CHUNK
            pieces.append((starts, taken, -1 if left else merges, skip))
            if not left:
                break
            starts = 0
    table = np.array(pieces, np.int64)
    table.flags.writeable = False
    return table


def pack_columns(matrix: Array, order: Order, tile: Tile) -> Array:
    """(K, N) -> (panels, K, columns) along the order's permutation, the last panel filled up with zeros."""
    terms, outputs = matrix.shape
    panels = -(-outputs // tile.columns)
    packed = np.zeros((panels, terms, tile.columns), tile.sums.working)
    permutation = schedule_of(order, terms).permutation
    whole = outputs // tile.columns * tile.columns
    taken = matrix if schedule_of(order, terms).in_place else matrix[permutation]
    if whole:
        packed[: whole // tile.columns] = taken[:, :whole].reshape(terms, -1, tile.columns).transpose(1, 0, 2)
    if whole < outputs:
        packed[-1, :, : outputs - whole] = taken[:, whole:]
    return packed
