"""Exact sums, rounded once, from approximate ones with a proven bound (Ziv, "Fast evaluation of elementary
mathematical functions with correctly rounded last bit", ACM TOMS 17(3), 1991).

An approximate sum and a bound on its error enclose the exact one. Where both ends round to the same number, that is
the result; the few other sums are added again, exactly, in a superaccumulator.
"""

from __future__ import annotations

import numpy as np

from ..arithmetic.formats import Array
from ..arithmetic.schedule import Indices
from .jit import kernel
from .share import CHANNELS, FILTERS, HEIGHT, KERNEL_H, KERNEL_W, LEFT, OUT_H, OUT_W, STRIDE_H, STRIDE_W, TOP, WIDTH
from .superaccumulator import CARRY_AFTER, LIMBS, add_product, carry, rounded_limbs

UNIT = 2.0**-53  # u of float64


@kernel
def rounded_number(x: float, precision: int, smallest_normal: float, largest: float) -> float:
    """RN of a float64 to a format, ties to even: arithmetic/formats.py's round_to for one number."""
    if precision == 24:
        return np.float64(np.float32(x))
    if precision == 53 or not np.isfinite(x):
        return x
    size = abs(x)
    if size < smallest_normal:
        large = 1.5 * smallest_normal * (1 << (53 - precision))  # its ulp is the format's smallest number
        near = (size + large) - large
    else:
        dropped = 53 - precision
        bits = np.float64(size).view(np.int64)
        odd = (bits >> dropped) & 1
        near = np.int64((bits + odd + ((1 << (dropped - 1)) - 1)) & (-1 << dropped)).view(np.float64)
    if near > largest:
        near = np.inf
    return np.copysign(near, x)


@kernel
def row_sizes(x: Array, shape: Indices, row_start: int, row_end: int, sizes: Array) -> None:
    """sizes[row] = sum over k of |a_k| of each window, in float64; NaN where a term is NaN."""
    height, width = shape[HEIGHT], shape[WIDTH]
    for row in range(row_start, row_end):
        image, place = divmod(row, shape[OUT_H] * shape[OUT_W])
        i, j = divmod(place, shape[OUT_W])
        top, left = i * shape[STRIDE_H] - shape[TOP], j * shape[STRIDE_W] - shape[LEFT]
        total = 0.0
        for y in range(max(top, 0), min(top + shape[KERNEL_H], height)):
            for z in range(max(left, 0), min(left + shape[KERNEL_W], width)):
                total += x[(image * height + y) * width + z]
        sizes[row] = total


@kernel
def pixel_sizes(x: Array, channels: int, start: int, end: int, sizes: Array) -> None:
    """sizes[pixel] = sum over the channels of |x|, in float64."""
    for pixel in range(start, end):
        total = 0.0
        for c in range(channels):
            total += abs(np.float64(x[pixel * channels + c]))
        sizes[pixel] = total


@kernel
def exact_sum(
    x: Array, shape: Indices, matrix: Array, bias: float, row: int, column: int, limbs: Array, precision: int,
    emin: int, emax: int,
) -> float:  # fmt: skip
    """One output: RN to the format of the real sum of its terms and the bias; NaN and infinity as IEEE 754 asks."""
    height, width, channels, filters = shape[HEIGHT], shape[WIDTH], shape[CHANNELS], shape[FILTERS]
    image, place = divmod(row, shape[OUT_H] * shape[OUT_W])
    i, j = divmod(place, shape[OUT_W])
    top, left = i * shape[STRIDE_H] - shape[TOP], j * shape[STRIDE_W] - shape[LEFT]
    limbs[:] = 0
    special, finite, at = 0.0, np.isfinite(bias), column
    for window in range(shape[KERNEL_H] * shape[KERNEL_W]):
        y, z = top + window // shape[KERNEL_W], left + window % shape[KERNEL_W]
        inside = 0 <= y < height and 0 <= z < width
        start = ((image * height + y) * width + z) * channels
        for c in range(channels):
            a, b = np.float64(x[start + c]) if inside else 0.0, np.float64(matrix[at])
            at += filters
            if not (np.isfinite(a) and np.isfinite(b)):
                special, finite = special + a * b, False
            elif a != 0 and b != 0:
                add_product(limbs, a, b)
            if at // filters % CARRY_AFTER == 0:
                carry(limbs)
    if not finite:
        return special + bias
    add_product(limbs, bias, 1.0)
    return rounded_limbs(limbs, precision, emin, emax)


@kernel
def only_rounding(
    s: float, c: float, pair: bool, radius: float, precision: int, smallest_normal: float, largest: float
) -> float:
    """The number that all of s + c - radius .. s + c + radius round to; NaN where there is more than one, or a zero."""
    high, low = 0.0, s
    if pair:  # s + c = high + low exactly (Knuth, TAOCP 2, 4.2.2)
        high = s + c
        z = high - s
        low = (s - (high - z)) + (c - z)
    radius = (radius + 2 * UNIT * abs(low)) * (1 + 8 * UNIT)  # the next two subtractions round
    below = rounded_number(high + (low - radius), precision, smallest_normal, largest)
    above = rounded_number(high + (low + radius), precision, smallest_normal, largest)
    return below if below == above and below != 0 else np.nan


@kernel
def decide(
    sums: Array, planes: int, x: Array, shape: Indices, matrix: Array, bias: Array, rows: Array, columns: Array,
    y: Array, row_start: int, row_end: int, precision: int, emin: int, emax: int, factor: float, lost: float,
) -> int:  # fmt: skip
    """y = RN(exact sums) for these rows; how many of them the superaccumulator had to add.

    sums: the approximate ones, bias included; with two planes those of chains.Pair. They are off by no more than
    factor (rows[i] columns[j] + |bias[j]|) + lost, factor and lost being large enough for that product's own
    roundings. rows: sum |a_k| of each row.  columns: max |b_k| of each column.
    """
    filters, outputs, pair = shape[FILTERS], sums.size // planes, planes == 2
    limbs = np.zeros(LIMBS, np.int64)
    smallest_normal, largest = 2.0**emin, (2.0 - 2.0 ** (1 - precision)) * 2.0**emax
    added = 0
    for row in range(row_start, row_end):
        size, first = rows[row], row * filters
        for column in range(filters):
            place = first + column
            radius = factor * (size * columns[column] + abs(np.float64(bias[column]))) + lost
            errors = sums[outputs + place] if pair else 0.0
            y[place] = only_rounding(sums[place], errors, pair, radius, precision, smallest_normal, largest)
        for column in range(filters):
            place = first + column
            if np.isnan(y[place]):
                offset, width = np.float64(bias[column]), columns[column]
                if (size == 0 and np.isfinite(width)) or (width == 0 and np.isfinite(size)):
                    y[place] = offset + 0.0  # every product is zero; the sum starts from +0
                elif not pair and not np.isfinite(sums[place]):
                    y[place] = sums[place]  # products and sums of narrow formats cannot overflow in float64
                elif not (np.isnan(size) or np.isnan(width) or np.isnan(offset)):
                    y[place] = exact_sum(x, shape, matrix, offset, row, column, limbs, precision, emin, emax)
                    added += 1
    return added
