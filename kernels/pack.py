"""Operands in the order in which a tile reads them."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from ..arithmetic import Order, shape_of
from ..arithmetic.formats import Array
from ..arithmetic.orders import schedule_of
from ..arithmetic.schedule import Indices
from ..errors import InputError
from .tile import CHUNK, FOUR, FRESH, ON_TOP, Tile

Piece = tuple[int, int, int, int]

ROWS = 32  # packed at once


@lru_cache(maxsize=256)
def pieces_of(order: Order, terms: int, lines: int, *, fours: bool = False) -> Indices:
    """The schedule cut at the ends of chunks: rows of (starts, length, merges or -1, elements to skip in a).

    starts: FRESH for a chain from +0 or the bias, ON_TOP for one that goes on from the newest value of the stack, FOUR
    (where `fours` allows it) for four chains of one term that are added in pairs, 0 for the rest of a chain. Raises
    InputError for an order with fused nodes, which the definition runs (Order.tiled).
    """
    if not order.tiled:
        raise InputError(
            f"order {order.name} with fused nodes in a tile", expected="chains and additions", do="run it by refnet.ops"
        )
    schedule = schedule_of(order, terms)
    pieces: list[Piece] = []
    position = 0
    columns = (column.tolist() for column in (schedule.lengths, schedule.merges, schedule.pops))
    for length, merges, continues in zip(*columns, strict=True):
        starts, left = ON_TOP if continues else FRESH, length
        while True:
            taken = min(left, CHUNK - position % CHUNK)
            position, left = position + taken, left - taken
            skip = taken if position % CHUNK or not taken else taken + (lines - 1) * CHUNK
            pieces.append((starts, taken, -1 if left else merges, skip))
            if not left:
                break
            starts = 0
    table = np.array(_in_fours(pieces) if fours else pieces, np.int64)
    table.flags.writeable = False
    return table


def _in_fours(pieces: list[Piece]) -> list[Piece]:
    """Four pieces of one term that are added in pairs and lie in one chunk, at once.

    Not the first four, for the bias may start them. A term that is the last of its chunk skips more than itself.
    """
    joined, place = pieces[:4], 4
    while place < len(pieces):
        four = pieces[place : place + 4]
        together = four[:3] == [(FRESH, 1, 0, 1), (FRESH, 1, 1, 1), (FRESH, 1, 0, 1)]
        if together and len(four) == 4 and four[3][:2] == (FRESH, 1) and four[3][2] >= 2:
            joined.append((FOUR, 4, four[3][2] - 2, 3 + four[3][3]))
            place += 4
        else:
            joined.append(four[0])
            place += 1
    return joined


def pack_columns(matrix: Any, order: Order, tile: Tile) -> Array:
    """(K, N) -> (panels, K, planes, columns) along the order's permutation, the last panel filled up with zeros."""
    terms, outputs = shape_of(matrix)
    whole, rest = divmod(outputs, tile.columns)
    packed = np.empty((whole + (rest > 0), terms, tile.operand_planes, tile.columns), tile.sums.working)
    if rest:
        packed[-1] = 0
    for plane, array in enumerate(matrix if isinstance(matrix, tuple) else (matrix,)):
        _pack_plane(array, order, packed[:, :, plane])
    return packed


def _pack_plane(matrix: Array, order: Order, packed: Array) -> None:
    """Some rows at a time, which stay in the cache between reading and writing them."""
    terms, outputs = matrix.shape
    columns = packed.shape[-1]
    schedule = schedule_of(order, terms)
    whole, rest = divmod(outputs, columns)
    for first in range(0, terms, ROWS):
        rows = slice(first, first + ROWS)
        taken = matrix[rows] if schedule.in_place else matrix[schedule.permutation[rows]]
        panels = taken[:, : whole * columns].reshape(len(taken), whole, columns)
        packed[:whole, rows] = panels.transpose(1, 0, 2)
        if rest:
            packed[-1, rows, :rest] = taken[:, whole * columns :]
