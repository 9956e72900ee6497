"""Sums of products: convolution and dense layers; and sums without products, which run in the same orders."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from ..arithmetic import CHAINS, Arithmetic, Format, numpy_ops, planewise, shape_of, stored
from ..arithmetic.chains import Chain
from ..arithmetic.formats import Array
from ..arithmetic.fused_sum import NEAREST, fused_sum
from ..arithmetic.orders import schedule_of
from ..arithmetic.schedule import Indices

Pair = tuple[int, int]
Padding = tuple[Pair, Pair]


def sums(a: Any, b: Any, bias: Any, *, arithmetic: Arithmetic, format_: Format | None = None) -> Any:
    """sum over k of a[:, k] b[k, :], and the bias: (M, K), (K, N), (N,) -> (M, N) in the accumulate format.

    The schedule says which terms form a chain, the chain how they are added (arithmetic/schedule.py, chains.py); the
    fused nodes of a tree are fused_sum's.
    Bias first is the start of the first chain, bias last one addition after the order's value (no bias: None). A bias
    that is added to a rounded sum is not part of this one (stored_sums).
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


def stored_sums(a: Any, b: Any, bias: Any, *, arithmetic: Arithmetic) -> Any:
    """`sums` rounded to storage. Where the bias is `stored` or `narrowed`, the sum is rounded before, to storage or to
    the operands' format, without a bias too.

    The addition is one in the accumulate format.
    """
    if not arithmetic.rounds_before(bias):
        return stored(sums(a, b, bias, arithmetic=arithmetic), arithmetic.storage)
    ops = numpy_ops(arithmetic.sums)
    y = ops.storage(stored(sums(a, b, None, arithmetic=arithmetic), arithmetic.finished))
    return stored(y if bias is None else ops.add(y, ops.storage(bias)), arithmetic.storage)


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
    y = _in_parts(patches, matrix, bias, out[0], arithmetic)
    return planewise(lambda plane: plane.reshape(*out, filters), y)


def dense(x: Any, kernel: Any, bias: Any, *, arithmetic: Arithmetic) -> Any:
    """y = x kernel + bias: (n, K), (K, N), (N,) -> (n, N)."""
    x, kernel = stored(x, arithmetic.operand), stored(kernel, arithmetic.operand)
    return _in_parts(x, kernel, bias, shape_of(x)[0], arithmetic)


def _in_parts(a: Any, b: Any, bias: Any, pictures: int, arithmetic: Arithmetic) -> Any:
    """`stored_sums`, the parts of the arithmetic in their own way; a: the rows of so many pictures."""
    y = stored_sums(a, b, bias, arithmetic=arithmetic)
    for part, own in arithmetic.ways:
        rows, columns = part.rows(pictures, len(a) // pictures), part.columns(b.shape[1])
        offset = None if bias is None else bias[columns]
        y[np.ix_(rows, columns)] = stored_sums(a[rows], b[:, columns], offset, arithmetic=own)
    return y


def pad(x: Any, padding: Padding) -> Any:
    """Zeros around the image: ((top, bottom), (left, right))."""
    return planewise(lambda plane: np.pad(plane, ((0, 0), *padding, (0, 0))), x)


def plain_sums(x: Any, arithmetic: Arithmetic) -> Any:
    """Each row's sum in the elementwise format: (M, K) -> (M,). A term without a factor is a term times one."""
    ones = np.ones((shape_of(x)[1], 1))
    total = sums(x, ones, None, arithmetic=arithmetic, format_=arithmetic.elementwise)
    return planewise(lambda plane: plane[:, 0], total)
