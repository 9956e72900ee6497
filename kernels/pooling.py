"""Pools: the largest of each window, and the mean of each channel in a declared order."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types

from .. import ops
from ..arithmetic import Arithmetic, planewise, shape_of, stored
from ..arithmetic.formats import Array
from ..ops import Pair
from .any_order import convolve, prepare
from .convolution import NO_PADDING
from .jit import compiled, kernel
from .threads import run_all


@kernel
def largest(x: Array, y: Array, size_h: int, size_w: int, stride_h: int, stride_w: int, image: int) -> None:
    """One image of max_pool. NaN wins, and +0 is larger than -0 (IEEE 754-2019, maximum)."""
    _, out_h, out_w, channels = y.shape
    for i in range(out_h):
        for j in range(out_w):
            for c in range(channels):
                y[image, i, j, c] = x[image, i * stride_h, j * stride_w, c]
            for di in range(size_h):
                for dj in range(size_w):
                    for c in range(channels):
                        value, most = x[image, i * stride_h + di, j * stride_w + dj, c], y[image, i, j, c]
                        if value == 0 and most == 0:
                            y[image, i, j, c] = value + most
                        elif value > most or value != value:
                            y[image, i, j, c] = value


def max_pool(x: Any, *, size: Pair, strides: Pair, threads: int) -> Any:
    """ops.max_pool by a kernel: (n, h, w, c) -> (n, oh, ow, c). Pairs go the definition's way."""
    if isinstance(x, tuple):
        return ops.max_pool(x, size=size, strides=strides)
    images, height, width, channels = x.shape
    out = ((height - size[0]) // strides[0] + 1, (width - size[1]) // strides[1] + 1)
    y = np.empty((images, *out, channels), x.dtype)
    numbers = types.Array(types.float32 if x.dtype == np.float32 else types.float64, 4, "C")
    code = compiled(largest, numbers, numbers, *[types.int64] * 5)
    x = np.ascontiguousarray(x)
    run_all(lambda image: code(x, y, *size, *strides, image), range(images), threads)
    return y


def row_sums(x: Any, arithmetic: Arithmetic, threads: int = 1) -> Any:
    """ops.plain_sums by the tile: (M, K) -> (M,) in the elementwise format, terms without factors."""
    if not arithmetic.summation.tiled:
        return ops.plain_sums(x, arithmetic)
    plain = _of_plain_terms(arithmetic)
    rows, terms = shape_of(x)
    ones = stored(np.ones((1, 1, terms, 1)), plain.storage)
    lines = planewise(lambda plane: plane.reshape(rows, 1, 1, terms), stored(x, plain.storage))
    return planewise(lambda plane: plane.reshape(-1), _product(lines, ones, plain, threads))


def mean_pool(x: Any, *, arithmetic: Arithmetic, threads: int) -> Any:
    """ops.mean_pool by the tile, which holds channels side by side: (n, h, w, c) -> (n, c)."""
    if not arithmetic.summation.tiled:
        return ops.mean_pool(x, arithmetic=arithmetic)
    images, height, width, channels = shape_of(x)
    plain = _of_plain_terms(arithmetic)
    ones = stored(np.ones((1, 1, 1, height * width)), plain.storage)
    pixels = planewise(lambda plane: plane.reshape(images, 1, 1, height * width, channels), stored(x, plain.storage))
    totals = [
        _product(ones, planewise(lambda plane, image=image: plane[image], pixels), plain, threads)
        for image in range(images)
    ]
    total = planewise(lambda *planes: np.concatenate(planes, axis=None), *totals)
    return ops.mean_of(total, height * width, (images, channels), arithmetic)


def _of_plain_terms(arithmetic: Arithmetic) -> Arithmetic:
    """The same order wholly in the elementwise format."""
    return Arithmetic(arithmetic.elementwise.name, order=arithmetic.order, fma=arithmetic.fma, bias=arithmetic.bias)


def _product(a: Any, b: Any, arithmetic: Arithmetic, threads: int) -> Any:
    how: dict[str, Any] = {"strides": (1, 1), "padding": NO_PADDING, "arithmetic": arithmetic, "threads": threads}
    return convolve(a, prepare(b, arithmetic), None, **how)
