"""Convolutions whose sums are rounded once: approximate sums by the register tile, then the decision of each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from numba import types

from .. import ops
from ..arithmetic import Arithmetic, shape_of
from ..arithmetic.formats import Array
from ..ops import Padding, Pair
from .convolution import PLAIN, Epilogue, PackedKernel, pack_kernel, rounded_operands
from .convolution import convolve as convolve_approximately
from .decision import decide, pixel_sizes, row_sizes
from .jit import compiled
from .threads import run_all

UNIT = 2.0**-53  # u of float64
SMALLEST = 2.0**-1074
LEAF = 128  # terms of a chain: shorter ones have a smaller error, and more additions between chains
ROWS_A_SHARE = 64


@dataclass(frozen=True)
class ExactKernel:
    """A convolution's kernel for the tile, the same as a matrix (K, filters), and max |b_k| of each filter."""

    packed: PackedKernel
    matrix: Array
    columns: Array


def approximation(arithmetic: Arithmetic) -> Arithmetic:
    """What the tile computes: narrow formats in float64, where their products are exact, float64 in pairs."""
    wide = arithmetic.storage.precision == 53
    order, accumulate = ("sequential", "double-double") if wide else (f"pairwise:{LEAF}", "float64")
    return Arithmetic(arithmetic.precision, accumulate, order, bias="first")


def error_bound(terms: int, planes: int) -> tuple[float, float]:
    """(factor, lost): an approximate sum of so many terms and a bias is off by at most factor S + lost.

    S = r c + |bias| with r = sum |a_k| and c = max |b_k| as they are computed: r in float64, with a relative error of
    at most gamma_K. With u = 2^-53 and gamma_n = n u / (1 - n u):

    * One plane: every term meets at most h = L + ceil(log2(K / L)) roundings in chains of L = LEAF that are added in
      pairs, |error| <= gamma_h S (Higham 2002, 4.1). No product of numbers of a narrow format underflows or overflows
      in float64.
    * Two planes: chains.Pair, |error| <= gamma_K gamma_(K + 1) S, and where TwoProduct's error underflows up to
      2^-1075 a term more.

    For K up to 2^40 the factor 2 covers 1 / (1 - n u), the error of r and the few roundings of S and its multiple; the
    4 in `lost` covers what underflows there.
    """
    if planes == 1:
        chains = -(-terms // LEAF)
        return 2 * (min(terms, LEAF) + (chains - 1).bit_length()) * UNIT, 0.0
    return 2 * ((terms + 1) * UNIT) ** 2, (terms + 4) * SMALLEST


def prepare(kernel: Any, arithmetic: Arithmetic) -> ExactKernel:
    """A kernel of the storage format, made ready for all exact convolutions of one precision."""
    filters = shape_of(kernel)[-1]
    matrix = np.ascontiguousarray(rounded_operands(kernel, arithmetic).reshape(-1, filters))
    columns = np.abs(matrix).max(axis=0).astype(np.float64)
    return ExactKernel(pack_kernel(kernel, approximation(arithmetic)), matrix.reshape(-1), columns)


def convolve(
    x: Any,
    kernel: ExactKernel,
    bias: Any,
    *,
    strides: Pair,
    padding: Padding,
    arithmetic: Arithmetic,
    threads: int,
    epilogue: Epilogue = PLAIN,
) -> Array:
    """convolution.convolve for the order exact: (n, oh, ow, filters) in the storage format."""
    approximate = approximation(arithmetic)
    how: dict[str, Any] = {"strides": strides, "padding": padding, "threads": threads}
    sums = convolve_approximately(x, kernel.packed, bias, arithmetic=approximate, unrounded=True, **how)
    planes = np.stack(sums) if isinstance(sums, tuple) else sums[None]
    source = np.ascontiguousarray(rounded_operands(x, arithmetic))
    return _decided(planes, source, kernel, bias, epilogue, arithmetic, **how)


def _decided(
    sums: Array,
    x: Array,
    kernel: ExactKernel,
    bias: Any,
    epilogue: Epilogue,
    arithmetic: Arithmetic,
    *,
    strides: Pair,
    padding: Padding,
    threads: int,
) -> Array:
    """RN of the exact sums to storage, from approximate ones, and what follows them.

    sums: (planes, n, oh, ow, filters).  Returns (n, oh, ow, filters).
    """
    images, height, width, channels = x.shape
    _, _, out_h, out_w, filters = sums.shape
    kernel_h, kernel_w, *_ = kernel.packed.shape
    sizes = (kernel_h, kernel_w, *strides, padding[0][0], padding[1][0], out_h, out_w, filters)
    shape = np.array([images, height, width, channels, *sizes])
    storage, working = arithmetic.storage, arithmetic.storage.working
    y = np.empty((images * out_h * out_w, filters), working)
    shortcut = None if epilogue.shortcut is None else epilogue.shortcut.reshape(y.shape)
    offsets = np.zeros(filters, working) if bias is None else np.ascontiguousarray(bias, working)
    bound = error_bound(kernel_h * kernel_w * channels, len(sums))
    code = _compiled(np.dtype(working).str)
    pixels, rows = np.empty(images * height * width), np.empty(len(y))
    source, numbers, results = x.reshape(-1), sums.reshape(-1), y.reshape(-1)
    run_all(lambda share: code.pixels(source, channels, *share, pixels), list(_shares(len(pixels))), threads)

    def run(share: tuple[int, int]) -> None:
        code.rows(pixels, shape, *share, rows)
        code.decide(
            numbers, len(sums), source, shape, kernel.matrix, offsets, rows, kernel.columns, results, *share,
            storage.precision, storage.emin, storage.emax, *bound,
        )  # fmt: skip
        part = slice(*share)  # while it is in the cache
        y[part] = _followed(y[part], None if shortcut is None else shortcut[part], epilogue, arithmetic)

    run_all(run, list(_shares(len(rows))), threads)
    return y.reshape(sums.shape[1:])


def _followed(y: Array, shortcut: Array | None, epilogue: Epilogue, arithmetic: Arithmetic) -> Array:
    """What follows the sums of some rows, each layer rounded as it would be alone."""
    if epilogue.norm == "shifts-last":
        s, t, *factor = epilogue.vectors
        y = ops.sum_of_products(shortcut, y, factor[0] if factor else None, s, t, arithmetic=arithmetic)
    else:
        if epilogue.norm != "none":
            form = replace(arithmetic, batch_norm=epilogue.norm)  # a convolution's own may be another
            y = ops.normalised(y, epilogue.vectors, arithmetic=form)
        if shortcut is not None:
            y = ops.add(shortcut, y, arithmetic=arithmetic)
    return y if epilogue.relu == "none" else ops.relu(y, epilogue.relu)


def _shares(rows: int) -> Iterator[tuple[int, int]]:
    for start in range(0, rows, ROWS_A_SHARE):
        yield start, min(rows, start + ROWS_A_SHARE)


@dataclass(frozen=True)
class _Code:
    """The machine code for one type of numbers."""

    pixels: Callable[..., Any]
    rows: Callable[..., Any]
    decide: Callable[..., int]


@lru_cache(maxsize=2)
def _compiled(working: str) -> _Code:
    numbers = types.Array(types.float32 if np.dtype(working) == np.float32 else types.float64, 1, "C")
    wide, places, integer = types.Array(types.float64, 1, "C"), types.Array(types.int64, 1, "C"), types.int64
    return _Code(
        compiled(pixel_sizes, numbers, *[integer] * 3, wide),
        compiled(row_sizes, wide, places, integer, integer, wide),
        compiled(
            decide, wide, integer, numbers, places, numbers, numbers, wide, wide, numbers, *[integer] * 5,
            types.float64, types.float64,
        ),
    )  # fmt: skip
