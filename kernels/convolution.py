"""One share of a convolution: rows of the im2col matrix are packed, then the register tile runs over them."""

from __future__ import annotations

import numpy as np

from ..arithmetic.formats import Array
from ..arithmetic.schedule import Indices
from .jit import kernel
from .tile import CHUNK, run_tile

IMAGES, HEIGHT, WIDTH, CHANNELS, KERNEL_H, KERNEL_W, STRIDE_H, STRIDE_W, TOP, LEFT, OUT_H, OUT_W, FILTERS = range(13)


@kernel
def pack_rows(x, shape, permutation, in_place, first, count, rows, packed):  # type: ignore[no-untyped-def]
    """Rows `first` .. `first + count * rows` of the im2col matrix, `rows` to a tile; rows past the end are zeros.

    packed: (tiles, chunks, rows, CHUNK). A row has its terms in (kh, kw, cin) order, zeros of the padding included,
    taken along the permutation unless they lie `in_place`.
    """
    height, width, channels = shape[HEIGHT], shape[WIDTH], shape[CHANNELS]
    kernel_h, kernel_w, out_h, out_w = shape[KERNEL_H], shape[KERNEL_W], shape[OUT_H], shape[OUT_W]
    terms = kernel_h * kernel_w * channels
    chunks = (terms + CHUNK - 1) // CHUNK
    row_terms = np.empty(terms, packed.dtype)
    permuted = np.empty(terms if not in_place else 0, packed.dtype)
    for tile in range(count):
        for row in range(rows):
            pixel = first + tile * rows + row
            base = (tile * chunks * rows + row) * CHUNK
            if pixel >= shape[IMAGES] * out_h * out_w:
                for chunk in range(chunks):
                    packed[base + chunk * rows * CHUNK : base + chunk * rows * CHUNK + CHUNK] = 0
                continue
            image, place = divmod(pixel, out_h * out_w)
            top = place // out_w * shape[STRIDE_H] - shape[TOP]
            left = place % out_w * shape[STRIDE_W] - shape[LEFT]
            at = 0
            for i in range(top, top + kernel_h):
                for j in range(left, left + kernel_w):
                    if 0 <= i < height and 0 <= j < width:
                        start = ((image * height + i) * width + j) * channels
                        row_terms[at : at + channels] = x[start : start + channels]
                    else:
                        row_terms[at : at + channels] = 0
                    at += channels
            source = row_terms
            if not in_place:
                for k in range(terms):
                    permuted[k] = row_terms[permutation[k]]
                source = permuted
            for chunk in range(chunks):
                start = chunk * CHUNK
                size = min(CHUNK, terms - start)
                target = base + chunk * rows * CHUNK
                packed[target : target + size] = source[start : start + size]


@kernel
def convolve(
    code: int, rows: int, columns: int, x: Array, shape: Indices, permutation: Indices, in_place: bool,
    packed_b: Array, pieces: Indices, y: Array, start: Array, bias: Array, form: int, first: Array, second: Array,
    third: Array, shortcut: Array, relu: int, share: Indices, packed_a: Array, stack: Array, edge: Array,
) -> None:  # fmt: skip
    """The outputs of row tiles share[0] .. share[1] and panels share[2] .. share[3], all written once.

    Vectors of one number a column (start, bias, first, second, third) and the shortcut are empty where there is none.
    """
    filters = shape[FILTERS]
    pixels = shape[IMAGES] * shape[OUT_H] * shape[OUT_W]
    terms = shape[KERNEL_H] * shape[KERNEL_W] * shape[CHANNELS]
    chunks = (terms + CHUNK - 1) // CHUNK
    size = y.itemsize
    tile_a, tile_b = chunks * rows * CHUNK * size, terms * columns * size
    pack_rows(x, shape, permutation, in_place, share[0] * rows, share[1] - share[0], rows, packed_a)
    for panel in range(share[2], share[3]):
        column = panel * columns
        used_columns = min(columns, filters - column)
        start_at = start.ctypes.data + column * size if start.size else 0
        bias_at = bias.ctypes.data + column * size if bias.size else 0
        vector = column * size
        for tile in range(share[0], share[1]):
            row = tile * rows
            used_rows = min(rows, pixels - row)
            whole = used_rows == rows and used_columns == columns
            target = row * filters + column
            c_at, stride = y.ctypes.data + target * size, filters
            shortcut_at = shortcut.ctypes.data + target * size if shortcut.size else 0
            if not whole:
                c_at, stride = edge.ctypes.data, columns
                if shortcut.size:
                    for i in range(used_rows):
                        for j in range(used_columns):
                            edge[i * columns + j] = shortcut[target + i * filters + j]
                    shortcut_at = c_at
            run_tile(
                code,
                packed_a.ctypes.data + (tile - share[0]) * tile_a,
                packed_b.ctypes.data + panel * tile_b,
                pieces.ctypes.data,
                pieces.size // 4,
                stack.ctypes.data,
                c_at,
                stride,
                start_at,
                bias_at,
                form,
                first.ctypes.data + vector,
                second.ctypes.data + vector,
                third.ctypes.data + vector,
                shortcut_at,
                relu,
            )
            if not whole:
                for i in range(used_rows):
                    for j in range(used_columns):
                        y[target + i * filters + j] = edge[i * columns + j]
