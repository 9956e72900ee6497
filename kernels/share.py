"""Shares of a convolution: rows of the im2col matrix are packed, then the register tile runs over them.

Everything is an address or an integer, in one table of ARGUMENTS, so that any thread can begin at once (team.py).
"""

from __future__ import annotations

from ..arithmetic.formats import Array
from ..arithmetic.schedule import Indices
from .jit import kernel
from .memory import clear_bytes, copy_bytes, gather, integer_at, take_next
from .tile import CHUNK
from .tile_code import run_tile

# places of the integers in a convolution's table; those up to SHAPE_END, and ACROSS, are planned before the call
(
    IMAGES, HEIGHT, WIDTH, CHANNELS, KERNEL_H, KERNEL_W, STRIDE_H, STRIDE_W, TOP, LEFT, OUT_H, OUT_W, FILTERS, PLANES,
    OUT_PLANES, SIZE, ROWS, COLUMNS, PERMUTATION, PIECES, PIECE_COUNT, SHARES, SHARE_COUNT, SCRATCH_SIZE, EDGE_AT,
    STACK_AT, LYING_AT, PACKED_AT, SHAPE_END,
) = range(29)  # fmt: skip
(
    X, KERNEL, Y, START, BIAS, FIRST, SECOND, THIRD, SHORTCUT, SCRATCH, ACROSS, AFTER, FORM, RELU, TAKEN, ENTERED,
    ARGUMENTS,
) = range(SHAPE_END, SHAPE_END + 17)  # fmt: skip
"""PLANES: of the operands; OUT_PLANES: of the outputs.  SIZE: bytes of a number.  PERMUTATION: 0 where terms lie in
place.  ACROSS: numbers between the planes of a vector.  AFTER: whether the sum is rounded before the bias is added.

START, BIAS, FIRST, SECOND, THIRD, SHORTCUT: addresses, 0 where there is none.  SCRATCH: room of SCRATCH_SIZE bytes for
each thread, divided at EDGE_AT, STACK_AT, LYING_AT, PACKED_AT.  TAKEN, ENTERED: counters of shares and of threads.
"""


@kernel
def place_arrays(
    table: Indices, x: Array, kernel_: Array, y: Array, start: Array, bias: Array, first: Array, second: Array,
    third: Array, shortcut: Array, scratch: Array,
) -> None:  # fmt: skip
    """The addresses of a convolution's arrays, 0 for empty ones, into its table."""
    table[X], table[KERNEL], table[Y] = x.ctypes.data, kernel_.ctypes.data, y.ctypes.data
    table[START], table[BIAS] = start.ctypes.data if start.size else 0, bias.ctypes.data if bias.size else 0
    table[FIRST], table[SECOND] = first.ctypes.data, second.ctypes.data
    table[THIRD] = third.ctypes.data if third.size else 0
    table[SHORTCUT] = shortcut.ctypes.data if shortcut.size else 0
    table[SCRATCH] = scratch.ctypes.data


@kernel
def copy_run(source: int, target: int, at: int, count: int, stride: int, size: int) -> None:
    """`count` numbers of `size` bytes become the terms at, at + 1, ... of a packed row, its chunks `stride` apart.

    source, target: addresses of the first number and of the row.  Zeros where source is 0.
    """
    while count > 0:
        chunk = at // CHUNK
        place = at - chunk * CHUNK
        taken = min(CHUNK - place, count)
        there = target + (chunk * stride + place) * size
        if source:
            copy_bytes(there, source, taken * size)
            source += taken * size
        else:
            clear_bytes(there, taken * size)
        at, count = at + taken, count - taken


@kernel
def copy_window(table: int, line: int, top: int, left: int, row: int, stride: int) -> None:
    """One window's terms in (kh, kw, cin) order, zeros where it leaves the image.

    line: the image's first line among those of all planes.  row: the address of the packed row.
    """
    height, width, channels = integer_at(table, HEIGHT), integer_at(table, WIDTH), integer_at(table, CHANNELS)
    across, size = integer_at(table, KERNEL_W), integer_at(table, SIZE)
    terms = across * channels
    before = min(max(-left, 0), across) * channels
    after = max(before, min(width - left, across) * channels)
    for i in range(integer_at(table, KERNEL_H)):
        at, y = i * terms, top + i
        if y < 0 or y >= height:
            copy_run(0, row, at, terms, stride, size)
            continue
        copy_run(0, row, at, before, stride, size)
        first = ((line + y) * width + left) * channels + before
        copy_run(integer_at(table, X) + first * size, row, at + before, after - before, stride, size)
        copy_run(0, row, at + after, terms - after, stride, size)


@kernel
def copy_permuted(table: int, lying: int, terms: int, row: int, stride: int) -> None:
    """A packed row's terms, taken along the permutation from where they lie in order."""
    size, permutation = integer_at(table, SIZE), integer_at(table, PERMUTATION)
    for chunk in range((terms + CHUNK - 1) // CHUNK):
        first = chunk * CHUNK
        gather(row + chunk * stride * size, lying, permutation + first * 8, min(CHUNK, terms - first), size)


@kernel
def pack_rows(table: int, first: int, count: int, lying: int, packed: int) -> None:
    """Tiles `first` .. `first + count` of the im2col matrix at the address `packed`; rows past the end are zeros.

    Packed as (tiles, chunks, rows, planes, CHUNK). The terms of a row are taken along the permutation, if there is one,
    from the address `lying`.
    """
    terms = integer_at(table, KERNEL_H) * integer_at(table, KERNEL_W) * integer_at(table, CHANNELS)
    planes, size, rows = integer_at(table, PLANES), integer_at(table, SIZE), integer_at(table, ROWS)
    images, out_h, out_w = integer_at(table, IMAGES), integer_at(table, OUT_H), integer_at(table, OUT_W)
    chunks, stride = (terms + CHUNK - 1) // CHUNK, rows * planes * CHUNK
    image, place = divmod(first * rows, out_h * out_w)
    i, j = divmod(place, out_w)
    for tile in range(count):
        for line in range(rows):  # places are counted on: to divide takes as long as to copy a short window
            top = i * integer_at(table, STRIDE_H) - integer_at(table, TOP)
            left = j * integer_at(table, STRIDE_W) - integer_at(table, LEFT)
            for plane in range(planes):
                row = packed + (tile * chunks * stride + (line * planes + plane) * CHUNK) * size
                lines = (plane * images + image) * integer_at(table, HEIGHT)  # planes of a picture follow one another
                if image >= images:
                    copy_run(0, row, 0, terms, stride, size)
                elif integer_at(table, PERMUTATION):
                    copy_window(table, lines, top, left, lying, CHUNK)
                    copy_permuted(table, lying, terms, row, stride)
                else:
                    copy_window(table, lines, top, left, row, stride)
            j += 1
            if j == out_w:
                i, j = i + 1, 0
            if i == out_h:
                image, i = image + 1, 0


@kernel
def copy_block(
    source: int, line: int, plane: int, target: int, to_line: int, to_plane: int, rows: int, bytes_: int, planes: int
) -> None:
    """Rows of so many bytes in every plane; lines and planes lie as many bytes apart as is said."""
    for p in range(planes):
        for i in range(rows):
            copy_bytes(target + p * to_plane + i * to_line, source + p * plane + i * line, bytes_)


@kernel
def convolve_shares(code: int, table: int) -> None:
    """Shares of a convolution, as long as there is one more; each output is written once. table: an address."""
    rows, columns = integer_at(table, ROWS), integer_at(table, COLUMNS)
    filters, planes, size = integer_at(table, FILTERS), integer_at(table, OUT_PLANES), integer_at(table, SIZE)
    operand = integer_at(table, PLANES) * size
    pixels = integer_at(table, IMAGES) * integer_at(table, OUT_H) * integer_at(table, OUT_W)
    terms = integer_at(table, KERNEL_H) * integer_at(table, KERNEL_W) * integer_at(table, CHANNELS)
    tile_a, tile_b = (terms + CHUNK - 1) // CHUNK * rows * CHUNK * operand, terms * columns * operand
    outputs = pixels * filters * size
    edge_line, edge_plane = columns * size, rows * columns * size
    start, bias, shortcut = integer_at(table, START), integer_at(table, BIAS), integer_at(table, SHORTCUT)
    third = integer_at(table, THIRD)
    scratch = integer_at(table, SCRATCH) + take_next(table + ENTERED * 8) * integer_at(table, SCRATCH_SIZE)
    edge, packed = scratch + integer_at(table, EDGE_AT), scratch + integer_at(table, PACKED_AT)
    share = take_next(table + TAKEN * 8)
    while share < integer_at(table, SHARE_COUNT):
        at = integer_at(table, SHARES) + share * 32
        tile_start, tile_end = integer_at(at, 0), integer_at(at, 1)
        pack_rows(table, tile_start, tile_end - tile_start, scratch + integer_at(table, LYING_AT), packed)
        for panel in range(integer_at(at, 2), integer_at(at, 3)):
            column = panel * columns
            used_columns = min(columns, filters - column)
            vector = column * size
            for tile in range(tile_start, tile_end):
                row = tile * rows
                used_rows = min(rows, pixels - row)
                whole = used_rows == rows and used_columns == columns
                target = (row * filters + column) * size
                y, other, line, plane = integer_at(table, Y) + target, shortcut, filters * size, outputs
                if shortcut:
                    other = shortcut + target
                if not whole:
                    if shortcut:
                        copy_block(
                            other, line, plane, edge, edge_line, edge_plane, used_rows, used_columns * size, planes
                        )
                        other = edge
                    y, line, plane = edge, edge_line, edge_plane
                run_tile(
                    code, packed + (tile - tile_start) * tile_a, integer_at(table, KERNEL) + panel * tile_b,
                    integer_at(table, PIECES), integer_at(table, PIECE_COUNT), scratch + integer_at(table, STACK_AT),
                    y, line // size, plane // size, integer_at(table, ACROSS), start + vector if start else 0,
                    bias + vector if bias else 0, integer_at(table, AFTER), integer_at(table, FORM),
                    integer_at(table, FIRST) + vector, integer_at(table, SECOND) + vector,
                    third + vector if third else 0, other, integer_at(table, RELU),
                )  # fmt: skip
                if not whole:
                    y, line = integer_at(table, Y) + target, filters * size
                    copy_block(edge, edge_line, edge_plane, y, line, outputs, used_rows, used_columns * size, planes)
        share = take_next(table + TAKEN * 8)
