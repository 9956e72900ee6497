"""Max pool and mean pool."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..arithmetic import Arithmetic, numpy_ops, planewise, shape_of, stored
from .products import Pair, plain_sums


def max_pool(x: Any, *, size: Pair, strides: Pair) -> Any:
    """The largest of each window; NaN wins, and +0 is larger than -0 (IEEE 754-2019, maximum).

    One after another in row-major order; of two numbers that are equal and not zero the first stays.
    """
    shape = shape_of(x)
    out = [(shape[1 + axis] - size[axis]) // strides[axis] + 1 for axis in range(2)]
    best: Any = None
    for i in range(size[0]):
        for j in range(size[1]):
            rows, columns = (slice(s, s + n * by, by) for s, n, by in zip((i, j), out, strides, strict=True))
            value = planewise(lambda plane, at=(slice(None), rows, columns): plane[at], x)
            best = value if best is None else _larger(best, value)
    return best


def _larger(best: Any, value: Any) -> Any:
    (high, low), (new, new_low) = (n if isinstance(n, tuple) else (n, np.zeros_like(n)) for n in (best, value))
    above = (new > high) | ((new == high) & (new_low > low))
    zeros = (new == 0) & (high == 0) & ~np.signbit(new)
    return planewise(lambda a, b: np.where(above | zeros | np.isnan(new), b, a), best, value)


def mean_pool(x: Any, *, arithmetic: Arithmetic) -> Any:
    """The mean of each channel, the order applied to the pixels in row-major order: (n, h, w, c) -> (n, c)."""
    images, height, width, channels = shape_of(x)
    pixels = planewise(lambda plane: plane.transpose(0, 3, 1, 2).reshape(-1, height * width), x)
    total = plain_sums(pixels, arithmetic)
    return mean_of(total, height * width, (images, channels), arithmetic)


def mean_of(total: Any, count: int, shape: tuple[int, int], arithmetic: Arithmetic) -> Any:
    """fl(total / count), or by its form fl(total fl(1 / count)); rounded to storage."""
    ops = numpy_ops(arithmetic.elementwise)
    counts, ones = (ops.storage(np.full(shape_of(total), float(number))) for number in (count, 1))
    mean = ops.mul(total, ops.div(ones, counts)) if arithmetic.mean == "multiply" else ops.div(total, counts)
    return planewise(lambda plane: plane.reshape(shape), stored(mean, arithmetic.storage))
