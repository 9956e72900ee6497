"""The definition of every operation of the network, in plain NumPy: what the kernels must equal bit for bit.

Images are (n, height, width, channels), kernels (height, width, channels in, channels out). Each function takes the
Arithmetic that says what is rounded when; arrays hold numbers of its formats, in those formats' working types, and
double-double numbers are pairs of arrays. A layer computes in the accumulate format and rounds to storage once, at its
output. Nothing here is fast.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from .arithmetic import CHAINS, Arithmetic, Format, numpy_ops, planewise, shape_of, spread, stored
from .arithmetic.chains import Chain
from .arithmetic.formats import Array
from .arithmetic.fused_sum import NEAREST, fused_sum
from .arithmetic.orders import schedule_of
from .arithmetic.schedule import Indices

Pair = tuple[int, int]
Padding = tuple[Pair, Pair]
Total = Callable[[Any, Arithmetic], Any]


def sums(a: Any, b: Any, bias: Any, *, arithmetic: Arithmetic, format_: Format | None = None) -> Any:
    """sum over k of a[:, k] b[k, :], and the bias: (M, K), (K, N), (N,) -> (M, N) in the accumulate format.

    The schedule says which terms form a chain, the chain how they are added (arithmetic/schedule.py, chains.py); the
    fused nodes of a tree are fused_sum's.
    Bias first is the start of the first chain, bias last one addition after the order's value (no bias: None).
    format_: the format to add in, where it is not the accumulate format.
    The order exact rounds once, to storage or to format_.
    """
    if arithmetic.exact:
        return exact_sums(a, b, bias, format_ or arithmetic.storage)
    ops = numpy_ops(format_ or arithmetic.sums)
    a, b = ops.factors(a, b)
    schedule = schedule_of(arithmetic.summation, shape_of(a)[1])
    zero = ops.zeros((shape_of(a)[0], shape_of(b)[1]))
    offset = (
        zero if bias is None else planewise(lambda plane: np.broadcast_to(plane, shape_of(zero)), ops.storage(bias))
    )
    start = offset if arithmetic.bias == "first" else zero
    done, values = 0, list[Any]()
    for length, merges, continues, rounding in zip(
        schedule.lengths, schedule.merges, schedule.pops, schedule.rounded, strict=True
    ):
        if continues:
            first = values.pop()
        else:
            first, start = start, zero
        terms = schedule.permutation[done : done + length]
        done += length
        if rounding:
            values.append(fused_sum(a[:, terms], b[terms], first, ops.format, rounding))
        else:
            values.append(_grown(ops, CHAINS[arithmetic.chain], a, b, terms, first))
        for _ in range(merges):
            newest = values.pop()
            values.append(ops.add(values.pop(), newest))
    return ops.add(values[0], offset) if bias is not None and arithmetic.bias == "last" else values[0]


def exact_sums(a: Array, b: Array, bias: Array | None, format_: Format) -> Array:
    """RN to format_ of the real sum over k of a[:, k] b[k, :], and the bias: (M, K), (K, N), (N,) -> (M, N).

    An exact sum of zero is +0, since every sum starts from +0; a tiny one that rounds to zero keeps its sign.
    """
    if bias is not None:
        a = np.concatenate([a, np.ones((len(a), 1), a.dtype)], axis=1)
        b = np.concatenate([b, bias[None]])
    return fused_sum(a, b, np.zeros((len(a), b.shape[1])), format_, NEAREST)


def _grown(ops: Any, chain: Chain, a: Any, b: Any, terms: Indices, first: Any) -> Any:
    """The value of one chain that starts from `first` and takes these terms."""
    state = (first, *[ops.zeros(shape_of(first))] * (chain.width - 1))
    for k in terms:
        left, right = planewise(lambda plane, k=k: plane[:, k, None], a), planewise(lambda plane, k=k: plane[k], b)
        state = chain.step(ops, state, left, right)
    return chain.value(ops, state)


def conv2d(x: Any, kernel: Any, bias: Any, *, strides: Pair, padding: Padding, arithmetic: Arithmetic) -> Any:
    """y[i, j, f] = sum over (dh, dw, c) of x[i s + dh, j s + dw, c] kernel[dh, dw, c, f] + bias[f]; padding is zeros.

    The terms lie in the order of the flattened Keras kernel, those of the padding included.
    """
    height, width, _, filters = shape_of(kernel)

    def windows(plane: Array) -> Array:
        return sliding_window_view(plane, (height, width), (1, 2))[:, :: strides[0], :: strides[1]]

    x = pad(stored(x, arithmetic.operand), padding)
    out = shape_of(planewise(windows, x))[:3]
    patches = planewise(lambda plane: windows(plane).transpose(0, 1, 2, 4, 5, 3).reshape(np.prod(out), -1), x)
    matrix = planewise(lambda plane: plane.reshape(-1, filters), stored(kernel, arithmetic.operand))
    y = stored(sums(patches, matrix, bias, arithmetic=arithmetic), arithmetic.storage)
    return planewise(lambda plane: plane.reshape(*out, filters), y)


def dense(x: Any, kernel: Any, bias: Any, *, arithmetic: Arithmetic) -> Any:
    """y = x kernel + bias: (n, K), (K, N), (N,) -> (n, N)."""
    x, kernel = stored(x, arithmetic.operand), stored(kernel, arithmetic.operand)
    return stored(sums(x, kernel, bias, arithmetic=arithmetic), arithmetic.storage)


def batch_norm(
    x: Any, gamma: Array, beta: Array, mean: Array, variance: Array, *, epsilon: float, arithmetic: Arithmetic
) -> Any:
    """gamma (x - mean) / sqrt(variance + epsilon) + beta (Ioffe and Szegedy 2015, arXiv 1502.03167, at inference).

    s = fl(gamma fl(1 / fl(sqrt(fl(variance + epsilon))))), then by form: `centred` fl(fl(fl(x - mean) s) + beta);
    `shifted` fl(fl(x s) + t) and `shifted-fma` fma(x, s, t), both with t = fl(beta - fl(mean s)), or where the shift is
    fused t = fma(-mean, s, beta). `folded` goes into the convolution before it (folded_kernel) and has no form here.
    """
    vectors = norm_vectors(gamma, beta, mean, variance, epsilon=epsilon, arithmetic=arithmetic)
    return normalised(x, vectors, arithmetic=arithmetic)


def normalised(x: Any, vectors: tuple[Any, ...], *, arithmetic: Arithmetic) -> Any:
    """batch_norm with the vectors that norm_vectors gave."""
    ops = numpy_ops(arithmetic.elementwise)
    x = ops.storage(x)
    if arithmetic.batch_norm == "centred":
        mean, s, beta = vectors
        y = ops.add(ops.mul(ops.sub(x, mean), s), beta)
    else:
        s, t = vectors
        y = ops.fma(x, s, t) if arithmetic.batch_norm == "shifted-fma" else ops.add(ops.mul(x, s), t)
    return stored(y, arithmetic.storage)


def norm_vectors(
    gamma: Array, beta: Array, mean: Array, variance: Array, *, epsilon: float, arithmetic: Arithmetic
) -> tuple[Any, ...]:
    """What batch normalisation has for each channel: (s, t) where it is shifted, else (mean, s, beta)."""
    ops = numpy_ops(arithmetic.elementwise)
    gamma, beta, mean, variance, one = (ops.storage(v) for v in (gamma, beta, mean, variance, np.ones_like(gamma)))
    eps = ops.storage(np.full(shape_of(gamma), epsilon))
    s = ops.mul(gamma, ops.div(one, ops.sqrt(ops.add(variance, eps))))
    if not arithmetic.batch_norm.startswith("shifted"):
        return mean, s, beta
    fused = arithmetic.shift == "fused"
    return s, ops.fma(ops.neg(mean), s, beta) if fused else ops.sub(beta, ops.mul(mean, s))


def folded_kernel(kernel: Any, bias: Any, mean: Any, s: Any, beta: Any, *, arithmetic: Arithmetic) -> tuple[Any, Any]:
    """Batch normalisation inside the convolution: kernel fl(w s), bias fl(fl(fl(b - mean) s) + beta), then storage."""
    ops = numpy_ops(arithmetic.elementwise)
    shape = shape_of(kernel)
    offset = ops.storage(np.zeros(shape[-1]) if bias is None else bias)
    offset = ops.add(ops.mul(ops.sub(offset, mean), s), beta)
    scaled = ops.mul(ops.storage(kernel), spread(s, shape))
    return stored(scaled, arithmetic.storage), stored(offset, arithmetic.storage)


def relu(x: Any) -> Any:
    """x where x > 0 or x is NaN, else +0."""
    leading = x[0] if isinstance(x, tuple) else x
    kept = (leading > 0) | np.isnan(leading)
    return planewise(lambda plane: np.where(kept, plane, plane.dtype.type(0)), x)


def add(x: Any, y: Any, *, arithmetic: Arithmetic) -> Any:
    """fl(x + y) in the accumulate format, then storage."""
    ops = numpy_ops(arithmetic.elementwise)
    return stored(ops.add(ops.storage(x), ops.storage(y)), arithmetic.storage)


def pad(x: Any, padding: Padding) -> Any:
    """Zeros around the image: ((top, bottom), (left, right))."""
    return planewise(lambda plane: np.pad(plane, ((0, 0), *padding, (0, 0))), x)


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
    """fl(sum / (height width)), the order applied to the pixels in row-major order: (n, h, w, c) -> (n, c)."""
    images, height, width, channels = shape_of(x)
    pixels = planewise(lambda plane: plane.transpose(0, 3, 1, 2).reshape(-1, height * width), x)
    total = plain_sums(pixels, arithmetic)
    return mean_of(total, height * width, (images, channels), arithmetic)


def mean_of(total: Any, count: int, shape: tuple[int, int], arithmetic: Arithmetic) -> Any:
    """fl(total / count), rounded to storage."""
    ops = numpy_ops(arithmetic.elementwise)
    mean = stored(ops.div(total, ops.storage(np.full(shape_of(total), float(count)))), arithmetic.storage)
    return planewise(lambda plane: plane.reshape(shape), mean)


def softmax(x: Any, *, arithmetic: Arithmetic, total: Total | None = None) -> Any:
    """e / sum(e) with e = RN(exp(fl(x - max x))), summed in the order; (n, classes), over the last axis.

    total: what sums the rows, plain_sums unless something with its bits is given.
    """
    ops = numpy_ops(arithmetic.elementwise)
    x = ops.storage(x)
    e = ops.exp(ops.sub(x, _row_maximum(x)))
    row_sums = planewise(lambda plane: plane[:, None], (total or plain_sums)(e, arithmetic))
    return stored(
        ops.div(e, planewise(lambda plane: np.broadcast_to(plane, shape_of(e)), row_sums)), arithmetic.storage
    )


def _row_maximum(x: Any) -> Any:
    if not isinstance(x, tuple):
        return x.max(axis=-1, keepdims=True)
    place = np.lexsort((x[1], x[0]), axis=-1)[:, -1:]  # NaN sorts last: it wins
    return planewise(lambda plane: np.take_along_axis(plane, place, axis=-1), x)


def plain_sums(x: Any, arithmetic: Arithmetic) -> Any:
    """Each row's sum in the elementwise format: (M, K) -> (M,). A term without a factor is a term times one."""
    ones = np.ones((shape_of(x)[1], 1))
    total = sums(x, ones, None, arithmetic=arithmetic, format_=arithmetic.elementwise)
    return planewise(lambda plane: plane[:, 0], total)
