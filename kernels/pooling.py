"""Pools: the largest of each window, and the mean of each channel in a declared order."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types

from ..arithmetic import Arithmetic, NumpyOps, round_to
from ..arithmetic.formats import Array
from .convolution import NO_PADDING, Pair, convolve, pack_kernel
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


def max_pool(x: Array, *, size: Pair, strides: Pair, threads: int) -> Array:
    """ops.max_pool by a kernel: (n, h, w, c) -> (n, oh, ow, c)."""
    images, height, width, channels = x.shape
    out = ((height - size[0]) // strides[0] + 1, (width - size[1]) // strides[1] + 1)
    y = np.empty((images, *out, channels), x.dtype)
    numbers = types.Array(types.float32 if x.dtype == np.float32 else types.float64, 4, "C")
    code = compiled(largest, numbers, numbers, *[types.int64] * 5)
    x = np.ascontiguousarray(x)
    run_all(lambda image: code(x, y, *size, *strides, image), range(images), threads)
    return y


def row_sums(x: Array, arithmetic: Arithmetic, threads: int = 1) -> Array:
    """ops.plain_sums by the tile: (M, K) -> (M,) in the elementwise format, terms without factors."""
    plain = _of_plain_terms(arithmetic)
    ones = np.ones((1, 1, x.shape[1], 1), plain.storage.working)
    rows = x.astype(plain.storage.working).reshape(len(x), 1, 1, -1)
    return _product(rows, ones, plain, threads).reshape(-1)


def mean_pool(x: Array, *, arithmetic: Arithmetic, threads: int) -> Array:
    """ops.mean_pool by the tile, which holds channels side by side: (n, h, w, c) -> (n, c)."""
    images, height, width, channels = x.shape
    plain = _of_plain_terms(arithmetic)
    pixels = x.astype(plain.storage.working).reshape(images, 1, 1, height * width, channels)
    ones = np.ones((1, 1, 1, height * width), plain.storage.working)
    total = np.concatenate([_product(ones, image, plain, threads).reshape(1, -1) for image in pixels])
    ops = NumpyOps(arithmetic.elementwise)
    return round_to(ops.div(total, ops.storage(height * width)), arithmetic.storage)


def _of_plain_terms(arithmetic: Arithmetic) -> Arithmetic:
    """The same order wholly in the elementwise format."""
    return Arithmetic(arithmetic.elementwise.name, order=arithmetic.order, fma=arithmetic.fma, bias=arithmetic.bias)


def _product(a: Array, b: Array, arithmetic: Arithmetic, threads: int) -> Array:
    how: dict[str, Any] = {"strides": (1, 1), "padding": NO_PADDING, "arithmetic": arithmetic, "threads": threads}
    return convolve(a, pack_kernel(b, arithmetic), None, **how)
