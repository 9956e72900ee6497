"""Network operations in fixed point: fast, and every bit the same on every machine.

Activations are multiples of 2^-10, kept as integers in float64 arrays; kernels are integers. A float64 matrix product
of integers is exact while all partial sums stay below 2^53: whatever library, thread count and order of addition.
Sums for means and variances are sums of integers below 2^53 too. All else is elementwise and exactly rounded.
"""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

UNIT = 1024.0  # fixed point: an activation x is kept as rint(x * UNIT)
LARGEST = 255.0 * UNIT
EXACT = 2.0**53

Padding = tuple[tuple[int, int], tuple[int, int]]  # (top, bottom), (left, right)


def to_fixed(x: np.ndarray) -> np.ndarray:
    """Nearest fixed-point integers, float64, of real activations; +0 for every zero; what is too large saturates."""
    integers = np.rint(x * UNIT)
    np.clip(integers, -LARGEST, LARGEST, out=integers)
    integers += 0.0
    return integers


def exact_product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a @ b of integer-valued float64 matrices, exact; raises ArithmeticError where a sum might reach 2^53."""
    if np.abs(a).max() * np.abs(b).sum(axis=0).max() >= EXACT:
        raise ArithmeticError("the partial sums of an integer matrix product might pass 2^53")
    product: np.ndarray = a @ b
    return product


def convolve(x: np.ndarray, kernel: np.ndarray, *, strides: tuple[int, int], padding: Padding) -> np.ndarray:
    """Exact convolution of integers: (n, h, w, cin) with (kh, kw, cin, cout), zero padding."""
    windows = _windows(pad(x, padding), kernel.shape[:2], strides)
    columns = windows.transpose(0, 1, 2, 4, 5, 3).reshape(-1, kernel[..., 0].size)
    return exact_product(columns, kernel.reshape(-1, kernel.shape[-1])).reshape(*windows.shape[:3], -1)


def pad(x: np.ndarray, padding: Padding) -> np.ndarray:
    return np.pad(x, ((0, 0), *padding, (0, 0))) if np.any(padding) else x


def max_pool(x: np.ndarray, *, size: tuple[int, int], strides: tuple[int, int]) -> np.ndarray:
    largest: np.ndarray = _windows(x, size, strides).max(axis=(-2, -1))
    return largest


def _windows(x: np.ndarray, size: tuple[int, ...], strides: tuple[int, int]) -> np.ndarray:
    """(n, h, w, c, kh, kw): a view of every window."""
    return sliding_window_view(x, size, axis=(1, 2))[:, :: strides[0], :: strides[1]]


def mean_and_variance(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance, float64, of each channel (last axis) over all else, free of any order of addition.

    A channel is rounded to 18 bits below its largest magnitude: 2^17 squares of such integers sum below 2^53.
    """
    rows = x.reshape(-1, x.shape[-1])
    if len(rows) > 2**17:
        raise ArithmeticError(f"{len(rows)} values in a channel, more than 2^17")
    exponents = 18 - np.frexp(np.maximum(rows.max(axis=0), -rows.min(axis=0)))[1]
    integers = np.rint(rows * np.ldexp(1.0, exponents))
    mean = integers.sum(axis=0) / len(rows)
    square = np.einsum("ij,ij->j", integers, integers) / len(rows)
    return np.ldexp(mean, -exponents), np.ldexp(np.maximum(square - mean * mean, 0.0), -2 * exponents)
