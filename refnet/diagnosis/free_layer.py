"""A layer left free: whether any weights at all give what the trace has, found by least squares."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from ..graph import Node

Array = NDArray[np.float64]
ENOUGH = 1.5  # rows for each unknown: fewer and nearly anything fits
MOST = 4  # rows for each unknown that are used


def misfit(node: Node, x: NDArray[np.floating], y: NDArray[np.floating]) -> float | None:
    """RMS of y minus the best that a layer of this kind can give for x; None where there are too few rows to tell.

    A batch normalisation is y = a x + b in each channel; a convolution or dense layer is a matrix over its windows.
    """
    if node.operation == "batch_norm":
        rows, values = x.reshape(-1, x.shape[-1]).astype(np.float64), y.reshape(-1, y.shape[-1]).astype(np.float64)
        return _affine(rows, values) if len(rows) >= 2 * ENOUGH and rows.shape == values.shape else None
    matrix, values = _windows(node, x), np.asarray(y, np.float64).reshape(-1, y.shape[-1])
    unknowns = matrix.shape[1] + 1
    if len(matrix) != len(values) or len(matrix) < ENOUGH * unknowns:
        return None
    chosen = np.linspace(0, len(matrix) - 1, min(len(matrix), MOST * unknowns)).astype(int)
    matrix = np.column_stack([matrix[chosen], np.ones(len(chosen))]).astype(np.float64)
    best = np.linalg.lstsq(matrix, values[chosen], rcond=None)[0]
    return float(np.sqrt(np.mean(np.square(matrix @ best - values[chosen]))))


def _affine(x: Array, y: Array) -> float:
    centred, values = x - x.mean(0), y - y.mean(0)
    power = np.square(centred).sum(0)
    slope = np.divide((centred * values).sum(0), power, out=np.zeros_like(power), where=power > 0)
    return float(np.sqrt(np.mean(np.square(values - slope * centred))))


def _windows(node: Node, x: NDArray[np.floating]) -> NDArray[np.floating]:
    """(rows, terms): the inputs of each output."""
    if node.operation == "dense":
        return x
    settings: Any = node.settings
    size, strides = node.weights["kernel"][:2], settings["strides"]
    padded = np.pad(x, ((0, 0), *settings["padding"], (0, 0)))
    windows = sliding_window_view(padded, size, (1, 2))[:, :: strides[0], :: strides[1]]
    return windows.transpose(0, 1, 2, 4, 5, 3).reshape(-1, size[0] * size[1] * x.shape[-1])
