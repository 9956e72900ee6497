"""Convolutions in which some outputs are added in another way: the whole by one order, then the parts by their own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from ..arithmetic import Arithmetic, Part
from ..arithmetic.formats import Array
from ..arithmetic.schedule import Indices
from ..ops import Padding, Pair
from .convolution import NO_PADDING, PLAIN, Epilogue


@dataclass(frozen=True)
class KernelInParts:
    """A kernel made ready for the whole, and for each part the columns that it has, as a matrix."""

    shape: tuple[int, int, int, int]
    arithmetic: Arithmetic
    whole: Any
    parts: tuple[tuple[Part, Arithmetic, Any], ...]


def prepare(kernel: Array, arithmetic: Arithmetic, make: Callable[[Array, Arithmetic], Any]) -> KernelInParts:
    """make: what prepares a kernel (height, width, channels, filters) in an arithmetic without parts."""
    height, width, channels, filters = kernel.shape
    matrix = kernel.reshape(1, 1, -1, filters)
    parts = tuple((part, own, make(matrix[..., part.columns(filters)], own)) for part, own in arithmetic.ways)
    alone = replace(arithmetic, parts=())
    return KernelInParts((height, width, channels, filters), alone, make(kernel, alone), parts)


def convolve(
    x: Array,
    kernel: KernelInParts,
    bias: Array | None,
    run: Callable[..., Array],
    *,
    strides: Pair,
    padding: Padding,
    epilogue: Epilogue = PLAIN,
    **how: Any,
) -> Array:
    """What `run` (convolution.convolve) gives: (n, oh, ow, filters), each part in its own arithmetic."""
    how["epilogue"] = epilogue
    y = run(x, kernel.whole, bias, strides=strides, padding=padding, arithmetic=kernel.arithmetic, **how)
    pictures, height, width, filters = y.shape
    outputs = y.reshape(-1, filters)
    for part, own, packed in kernel.parts:
        rows, columns = part.rows(pictures, height * width), part.columns(filters)
        windows = windows_at(x, rows, kernel.shape[:2], strides, padding)[None, :, None, :]
        how["epilogue"] = epilogue_of(epilogue, rows, columns)
        offset = None if bias is None else bias[columns]
        part_y = run(windows, packed, offset, strides=(1, 1), padding=NO_PADDING, arithmetic=own, **how)
        outputs[np.ix_(rows, columns)] = part_y[0, :, 0, :]
    return y


def windows_at(x: Array, rows: Indices, size: Pair, strides: Pair, padding: Padding) -> Array:
    """The windows of these outputs, counted through all pictures: (n, h, w, c) -> (rows, height * width * c)."""
    padded = np.pad(x, ((0, 0), *padding, (0, 0))) if np.any(padding) else x
    windows = sliding_window_view(padded, size, (1, 2))[:, :: strides[0], :: strides[1]]
    chosen = windows[np.unravel_index(rows, windows.shape[:3])]
    return np.ascontiguousarray(chosen.transpose(0, 2, 3, 1)).reshape(len(rows), -1)


def epilogue_of(epilogue: Epilogue, rows: Indices, columns: Indices) -> Epilogue:
    """What follows the sums of some outputs: the vectors of their channels, the shortcut at their places."""
    vectors = tuple(vector[columns] for vector in epilogue.vectors)
    shortcut = epilogue.shortcut
    if shortcut is not None:
        shortcut = shortcut.reshape(-1, shortcut.shape[-1])[np.ix_(rows, columns)][None, :, None, :]
    return replace(epilogue, vectors=vectors, shortcut=shortcut)
