"""sum |a b| of each output of a direct sum: the scale against which its rounding errors are to be judged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from ..graph import Node

Array = NDArray[np.floating]

DIRECT_SUMS = ("conv2d", "dense")


def sum_of_magnitudes(node: Node, x: Array, weights: Mapping[str, Array]) -> NDArray[np.float64] | None:
    """sum |a_k b_k| over the K terms of each output, in the shape of the output; None for other operations.

    x: the layer's input, (n, height, width, channels) or (n, channels).  Computed in float64 in whatever order the
    matrix product takes: it is a scale and needs a few digits only.
    """
    if node.operation not in DIRECT_SUMS:
        return None
    kernel = np.abs(weights[f"{node.name}/kernel"], dtype=np.float64)
    magnitude = np.abs(x, dtype=np.float64)
    if node.operation == "dense":
        return magnitude @ kernel
    settings: Mapping[str, Any] = node.settings
    down, across = settings["strides"]
    padded = np.pad(magnitude, ((0, 0), *settings["padding"], (0, 0)))
    windows: Array = sliding_window_view(padded, kernel.shape[:2], axis=(1, 2))[:, ::down, ::across]
    return np.tensordot(windows, kernel, axes=((4, 5, 3), (0, 1, 2)))
