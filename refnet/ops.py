"""The definition of every operation of the network, in plain NumPy: what the kernels must equal bit for bit.

Images are (n, height, width, channels), kernels (height, width, channels in, channels out). Each function takes the
Arithmetic that says what is rounded when; arrays hold numbers of its formats, in those formats' working types. A layer
computes in the accumulate format and rounds to storage once, at its output. Nothing here is fast.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from .arithmetic import CHAINS, Arithmetic, Format, NumpyOps, round_to
from .arithmetic.exponential import exp
from .arithmetic.formats import Array

Pair = tuple[int, int]
Padding = tuple[Pair, Pair]
Total = Callable[[Array, Arithmetic], Array]


def sums(a: Array, b: Array, bias: Array | None, *, arithmetic: Arithmetic, format_: Format | None = None) -> Array:
    """sum over k of a[:, k] b[k, :], and the bias: (M, K), (K, N), (N,) -> (M, N) in the accumulate format.

    The schedule says which terms form a chain, the chain how they are added (arithmetic/schedule.py, chains.py).
    Bias first is the start of the first chain, bias last one addition after the order's value.
    """
    ops = NumpyOps(format_ or arithmetic.sums)
    chain, schedule = CHAINS[arithmetic.chain], arithmetic.summation.schedule(a.shape[1])
    a, b = ops.storage(a), ops.storage(b)
    zero = ops.zeros((a.shape[0], b.shape[1]))
    offset = zero if bias is None else np.broadcast_to(ops.storage(bias), zero.shape)
    start = offset if arithmetic.bias == "first" else zero
    terms = iter(schedule.permutation)
    values: list[Array] = []
    for length, merges in zip(schedule.lengths, schedule.merges, strict=True):
        state = (start, *[zero] * (chain.width - 1))
        for _ in range(length):
            k = next(terms)
            left, right = np.broadcast_arrays(a[:, k, None], b[None, k])
            state = chain.step(ops, state, left, right)
        values.append(chain.value(ops, state))
        for _ in range(merges):
            newest = values.pop()
            values.append(ops.add(values.pop(), newest))
        start = zero
    return ops.add(values[0], offset) if bias is not None and arithmetic.bias == "last" else values[0]


def conv2d(
    x: Array, kernel: Array, bias: Array | None, *, strides: Pair, padding: Padding, arithmetic: Arithmetic
) -> Array:
    """y[i, j, f] = sum over (dh, dw, c) of x[i s + dh, j s + dw, c] kernel[dh, dw, c, f] + bias[f]; padding is zeros.

    The terms lie in the order of the flattened Keras kernel, those of the padding included.
    """
    height, width, channels, filters = kernel.shape
    x = round_to(pad(x, padding), arithmetic.operand)
    windows = sliding_window_view(x, (height, width), (1, 2))[:, :: strides[0], :: strides[1]]
    patches = windows.transpose(0, 1, 2, 4, 5, 3).reshape(-1, height * width * channels)
    matrix = round_to(kernel, arithmetic.operand).reshape(-1, filters)
    y = sums(patches, matrix, bias, arithmetic=arithmetic)
    return round_to(y, arithmetic.storage).reshape(*windows.shape[:3], filters)


def dense(x: Array, kernel: Array, bias: Array, *, arithmetic: Arithmetic) -> Array:
    """y = x kernel + bias: (n, K), (K, N), (N,) -> (n, N)."""
    operand = arithmetic.operand
    y = sums(round_to(x, operand), round_to(kernel, operand), bias, arithmetic=arithmetic)
    return round_to(y, arithmetic.storage)


def batch_norm(
    x: Array, gamma: Array, beta: Array, mean: Array, variance: Array, *, epsilon: float, arithmetic: Arithmetic
) -> Array:
    """gamma (x - mean) / sqrt(variance + epsilon) + beta (Ioffe and Szegedy 2015, arXiv 1502.03167, at inference).

    s = fl(gamma fl(1 / fl(sqrt(fl(variance + epsilon))))), then by form: `centred` fl(fl(fl(x - mean) s) + beta);
    `shifted` fl(fl(x s) + t) and `shifted-fma` fma(x, s, t), both with t = fl(beta - fl(mean s)).
    """
    ops = NumpyOps(arithmetic.elementwise)
    vectors = norm_vectors(gamma, beta, mean, variance, epsilon=epsilon, arithmetic=arithmetic)
    x = ops.storage(x)
    if arithmetic.batch_norm == "centred":
        mean, s, beta = vectors
        y = ops.add(ops.mul(ops.sub(x, mean), s), beta)
    else:
        s, t = vectors
        y = ops.fma(x, s, t) if arithmetic.batch_norm == "shifted-fma" else ops.add(ops.mul(x, s), t)
    return round_to(y, arithmetic.storage)


def norm_vectors(
    gamma: Array, beta: Array, mean: Array, variance: Array, *, epsilon: float, arithmetic: Arithmetic
) -> tuple[Array, ...]:
    """What batch normalisation has for each channel: (mean, s, beta) where it is centred, else (s, t)."""
    ops = NumpyOps(arithmetic.elementwise)
    gamma, beta, mean, variance = (ops.storage(vector) for vector in (gamma, beta, mean, variance))
    one, eps = ops.storage(1.0), ops.storage(epsilon)
    s = ops.mul(gamma, ops.div(one, ops.sqrt(ops.add(variance, eps))))
    if arithmetic.batch_norm == "centred":
        return mean, s, beta
    return s, ops.sub(beta, ops.mul(mean, s))


def relu(x: Array) -> Array:
    """x where x > 0 or x is NaN, else +0."""
    return np.where((x > 0) | np.isnan(x), x, x.dtype.type(0))


def add(x: Array, y: Array, *, arithmetic: Arithmetic) -> Array:
    """fl(x + y) in the accumulate format, then storage."""
    return round_to(NumpyOps(arithmetic.elementwise).add(x, y), arithmetic.storage)


def pad(x: Array, padding: Padding) -> Array:
    """Zeros around the image: ((top, bottom), (left, right))."""
    return np.pad(x, ((0, 0), *padding, (0, 0)))


def max_pool(x: Array, *, size: Pair, strides: Pair) -> Array:
    """The largest of each window; NaN wins, and +0 is larger than -0 (IEEE 754-2019, maximum)."""
    windows = sliding_window_view(x, size, (1, 2))[:, :: strides[0], :: strides[1]]
    largest = windows.max(axis=(-2, -1))
    has_positive_zero = ((windows == 0) & ~np.signbit(windows)).any(axis=(-2, -1))
    zero = np.where(has_positive_zero, x.dtype.type(0.0), x.dtype.type(-0.0))
    return np.where(largest == 0, zero, largest)


def mean_pool(x: Array, *, arithmetic: Arithmetic) -> Array:
    """fl(sum / (height width)), the order applied to the pixels in row-major order: (n, h, w, c) -> (n, c)."""
    images, height, width, channels = x.shape
    pixels = x.transpose(0, 3, 1, 2).reshape(-1, height * width)
    ops = NumpyOps(arithmetic.elementwise)
    mean = ops.div(plain_sums(pixels, arithmetic), ops.storage(height * width))
    return round_to(mean, arithmetic.storage).reshape(images, channels)


def softmax(x: Array, *, arithmetic: Arithmetic, total: Total | None = None) -> Array:
    """e / sum(e) with e = RN(exp(fl(x - max x))), summed in the order; (n, classes), over the last axis.

    total: what sums the rows, plain_sums unless something with its bits is given.
    """
    ops = NumpyOps(arithmetic.elementwise)
    x = ops.storage(x)
    e = exp(ops.sub(x, x.max(axis=-1, keepdims=True)), arithmetic.elementwise)
    return round_to(ops.div(e, (total or plain_sums)(e, arithmetic)[:, None]), arithmetic.storage)


def plain_sums(x: Array, arithmetic: Arithmetic) -> Array:
    """Each row's sum in the elementwise format: (M, K) -> (M,). A term without a factor is a term times one."""
    ones = np.ones((x.shape[1], 1), x.dtype)
    return sums(x, ones, None, arithmetic=arithmetic, format_=arithmetic.elementwise)[:, 0]
