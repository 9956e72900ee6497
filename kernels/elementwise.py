"""Batch normalisation, ReLU and addition alone, as a pass that shows every layer asks for them, on all threads.

With the bits of refnet.ops, for layers that compute in the format in which they store; others go the definition's way.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import types
from numba.extending import intrinsic

from .. import ops
from ..arithmetic import Arithmetic
from ..arithmetic.formats import Array
from .jit import compiled, kernel
from .threads import run_all

SHARE = 1 << 16  # numbers that one thread takes at a time


@intrinsic
def _fma(typing: Any, a: Any, b: Any, c: Any) -> Any:
    """a b + c of three numbers of one type, rounded once."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.fma(*arguments)

    return a(a, a, a), codegen


fma: Any = _fma


@kernel
def centred(y: Array, x: Array, mean: Array, s: Array, beta: Array, first: int, end: int) -> None:
    for i in range(first, end):
        for c in range(x.shape[1]):
            y[i, c] = (x[i, c] - mean[c]) * s[c] + beta[c]


@kernel
def shifted(y: Array, x: Array, s: Array, t: Array, first: int, end: int) -> None:
    for i in range(first, end):
        for c in range(x.shape[1]):
            y[i, c] = x[i, c] * s[c] + t[c]


@kernel
def shifted_fma(y: Array, x: Array, s: Array, t: Array, first: int, end: int) -> None:
    for i in range(first, end):
        for c in range(x.shape[1]):
            y[i, c] = fma(x[i, c], s[c], t[c])


@kernel
def sum_of(y: Array, a: Array, b: Array, first: int, end: int) -> None:
    for i in range(first, end):
        for c in range(a.shape[1]):
            y[i, c] = a[i, c] + b[i, c]


@kernel
def positive(y: Array, x: Array, first: int, end: int) -> None:
    for i in range(first, end):
        for c in range(x.shape[1]):
            y[i, c] = x[i, c] if x[i, c] > 0 or x[i, c] != x[i, c] else 0


@kernel
def signed_zero(y: Array, x: Array, first: int, end: int) -> None:
    for i in range(first, end):
        for c in range(x.shape[1]):
            y[i, c] = x[i, c] if x[i, c] >= 0 or x[i, c] != x[i, c] else 0


NORMS = {"centred": centred, "shifted": shifted, "shifted-fma": shifted_fma}
RECTIFIERS = {"positive": positive, "signed-zero": signed_zero}


def normalised(x: Any, vectors: tuple[Any, ...], *, arithmetic: Arithmetic, threads: int) -> Any:
    """ops.normalised of (n, h, w, c)."""
    if not _computes_as_stored(arithmetic):
        return ops.normalised(x, vectors, arithmetic=arithmetic)
    return _run(NORMS[arithmetic.norm.applied], (x,), vectors, threads)


def add(x: Any, y: Any, *, arithmetic: Arithmetic, threads: int) -> Any:
    """ops.add of two arrays of one shape."""
    if not _computes_as_stored(arithmetic):
        return ops.add(x, y, arithmetic=arithmetic)
    return _run(sum_of, (x, y), (), threads)


def relu(x: Any, *, arithmetic: Arithmetic, threads: int) -> Any:
    """ops.relu."""
    if not _computes_as_stored(arithmetic):
        return ops.relu(x, arithmetic.relu)
    return _run(RECTIFIERS[arithmetic.relu], (x,), (), threads)


def _computes_as_stored(arithmetic: Arithmetic) -> bool:
    """Whether NumPy's and the machine's own operations are those of the layer, with no rounding between them."""
    return arithmetic.elementwise == arithmetic.storage and arithmetic.storage.is_working


def _run(code: Callable[..., None], arrays: tuple[Array, ...], vectors: tuple[Array, ...], threads: int) -> Array:
    shape, type_ = arrays[0].shape, arrays[0].dtype
    lines = [np.ascontiguousarray(array).reshape(-1, shape[-1]) for array in arrays]
    y = np.empty_like(lines[0])
    number = types.float32 if type_ == np.float32 else types.float64
    tables, vector = [types.Array(number, 2, "C")] * (1 + len(lines)), types.Array(number, 1, "C")
    run = compiled(code, *tables, *[vector] * len(vectors), types.int64, types.int64)
    held = [np.ascontiguousarray(numbers, type_) for numbers in vectors]
    height = max(1, SHARE // shape[-1])
    run_all(lambda first: run(y, *lines, *held, first, min(first + height, len(y))), range(0, len(y), height), threads)
    return y.reshape(shape)
