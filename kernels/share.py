"""One share of a convolution: rows of the im2col matrix are packed, then the register tile runs over them."""

from __future__ import annotations

import numpy as np

from ..arithmetic.formats import Array
from ..arithmetic.schedule import Indices
from .jit import kernel
from .tile import CHUNK
from .tile_code import run_tile

# places of a convolution's sizes in `shape`
IMAGES, HEIGHT, WIDTH, CHANNELS, KERNEL_H, KERNEL_W, STRIDE_H, STRIDE_W = range(8)
TOP, LEFT, OUT_H, OUT_W, FILTERS, PLANES = range(8, 14)


@kernel
def copy_run(x: Array, start: int, count: int, packed: Array, row: int, at: int, stride: int) -> None:
    """`count` numbers of x become the terms at, at + 1, ... of a packed row, whose chunks lie `stride` apart."""
    target, room = row + at // CHUNK * stride + at % CHUNK, CHUNK - at % CHUNK
    while count > 0:
        size = min(room, count)
        # unsigned: an index that may be negative keeps LLVM from copying whole vectors
        a, b = np.uint64(start), np.uint64(target)
        for i in range(np.uint64(size)):
            packed[b + i] = x[a + i]
        start, count = start + size, count - size
        target, room = target + size + stride - CHUNK, CHUNK


@kernel
def copy_zeros(count: int, packed: Array, row: int, at: int, stride: int) -> None:
    """Zeros for the terms at, at + 1, ... of a packed row."""
    for k in range(at, at + count):
        packed[row + k // CHUNK * stride + k % CHUNK] = 0


@kernel
def copy_window(
    x: Array, shape: Indices, plane: int, image: int, top: int, left: int, packed: Array, row: int, stride: int
) -> None:
    """One window's terms in (kh, kw, cin) order, zeros where it leaves the image."""
    height, width, channels = shape[HEIGHT], shape[WIDTH], shape[CHANNELS]
    line = shape[KERNEL_W] * channels
    height_before = plane * shape[IMAGES] * height  # the planes of a picture lie one after another
    before = min(max(-left, 0), shape[KERNEL_W]) * channels
    after = max(before, min(width - left, shape[KERNEL_W]) * channels)
    for i in range(shape[KERNEL_H]):
        at, y = i * line, top + i
        if y < 0 or y >= height:
            copy_zeros(line, packed, row, at, stride)
            continue
        if before:
            copy_zeros(before, packed, row, at, stride)
        start = ((height_before + image * height + y) * width + left) * channels
        copy_run(x, start + before, after - before, packed, row, at + before, stride)
        if after < line:
            copy_zeros(line - after, packed, row, at + after, stride)


@kernel
def copy_permuted(lying: Array, permutation: Indices, packed: Array, row: int, stride: int) -> None:
    """A packed row's terms, taken along the permutation from where they lie in order."""
    for chunk in range(0, permutation.size, CHUNK):
        target = np.uint64(row + chunk // CHUNK * stride)
        for k in range(np.uint64(min(CHUNK, permutation.size - chunk))):
            packed[target + k] = lying[permutation[np.uint64(chunk) + k]]


@kernel
def pack_rows(
    x: Array, shape: Indices, permutation: Indices, in_place: bool, first: int, count: int, rows: int, packed: Array
) -> None:
    """Tiles `first` .. `first + count` of the im2col matrix, `rows` to a tile; rows past the end are zeros.

    packed: (tiles, chunks, rows, planes, CHUNK). The terms of a row are taken along the permutation unless they lie
    `in_place`.
    """
    terms = shape[KERNEL_H] * shape[KERNEL_W] * shape[CHANNELS]
    chunks, planes = (terms + CHUNK - 1) // CHUNK, shape[PLANES]
    stride = rows * planes * CHUNK
    lying = np.empty(0 if in_place else terms, packed.dtype)
    image, place = divmod(first * rows, shape[OUT_H] * shape[OUT_W])
    i, j = divmod(place, shape[OUT_W])
    for tile in range(count):
        for line in range(rows):  # places are counted on: to divide takes as long as to copy a short window
            for plane in range(planes):
                row = tile * chunks * stride + (line * planes + plane) * CHUNK
                top, left = i * shape[STRIDE_H] - shape[TOP], j * shape[STRIDE_W] - shape[LEFT]
                if image >= shape[IMAGES]:
                    copy_zeros(terms, packed, row, 0, stride)
                elif in_place:
                    copy_window(x, shape, plane, image, top, left, packed, row, stride)
                else:
                    copy_window(x, shape, plane, image, top, left, lying, 0, CHUNK)
                    copy_permuted(lying, permutation, packed, row, stride)
            j += 1
            if j == shape[OUT_W]:
                i, j = i + 1, 0
            if i == shape[OUT_H]:
                image, i = image + 1, 0


@kernel
def convolve_share(
    code: int, rows: int, columns: int, x: Array, shape: Indices, permutation: Indices, in_place: bool,
    packed_b: Array, pieces: Indices, y: Array, start: Array, bias: Array, form: int, first: Array, second: Array,
    third: Array, shortcut: Array, relu: int, tile_start: int, tile_end: int, panel_start: int, panel_end: int,
    packed_a: Array, stack: Array, edge: Array,
) -> None:  # fmt: skip
    """The outputs of row tiles tile_start .. tile_end and panels panel_start .. panel_end, each written once.

    Vectors of one number a column (start, bias, first, second, third) and the shortcut are empty where there is none.
    Planes of a number lie apart: those of x, y and the shortcut by a whole array, those of a vector by its length.
    """
    filters = shape[FILTERS]
    pixels = shape[IMAGES] * shape[OUT_H] * shape[OUT_W]
    terms = shape[KERNEL_H] * shape[KERNEL_W] * shape[CHANNELS]
    chunks = (terms + CHUNK - 1) // CHUNK
    size = y.itemsize
    planes, outputs, across = shape[PLANES], pixels * filters, packed_b.size // terms // shape[PLANES]
    tile_a, tile_b = chunks * rows * planes * CHUNK * size, terms * planes * columns * size
    pack_rows(x, shape, permutation, in_place, tile_start, tile_end - tile_start, rows, packed_a)
    for panel in range(panel_start, panel_end):
        column = panel * columns
        used_columns = min(columns, filters - column)
        vector = column * size
        start_at = start.ctypes.data + vector if start.size else 0
        bias_at = bias.ctypes.data + vector if bias.size else 0
        for tile in range(tile_start, tile_end):
            row = tile * rows
            used_rows = min(rows, pixels - row)
            whole = used_rows == rows and used_columns == columns
            target = row * filters + column
            c_at, stride, plane = y.ctypes.data + target * size, filters, outputs
            shortcut_at = shortcut.ctypes.data + target * size if shortcut.size else 0
            if not whole:
                c_at, stride, plane = edge.ctypes.data, columns, rows * columns
                if shortcut.size:
                    for p in range(planes):
                        for i in range(used_rows):
                            for j in range(used_columns):
                                edge[(p * rows + i) * columns + j] = shortcut[p * outputs + target + i * filters + j]
                    shortcut_at = c_at
            run_tile(
                code, packed_a.ctypes.data + (tile - tile_start) * tile_a, packed_b.ctypes.data + panel * tile_b,
                pieces.ctypes.data, pieces.size // 4, stack.ctypes.data, c_at, stride, plane, across, start_at, bias_at,
                form, first.ctypes.data + vector, second.ctypes.data + vector, third.ctypes.data + vector,
                shortcut_at, relu,
            )  # fmt: skip
            if not whole:
                for p in range(planes):
                    for i in range(used_rows):
                        for j in range(used_columns):
                            y[p * outputs + target + i * filters + j] = edge[(p * rows + i) * columns + j]
