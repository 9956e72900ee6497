"""sum |a b| of each output of a direct sum: the scale against which its rounding errors are to be judged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import kernels
from ..graph import Node

Array = NDArray[np.floating]

DIRECT_SUMS = ("conv2d", "dense")


def sum_of_magnitudes(node: Node, x: Array, weights: Mapping[str, Array], threads: int | None = None) -> Array | None:
    """sum |a_k b_k| over the K terms of each output, in the shape of the output; None for other operations.

    x: the layer's input, (n, height, width, channels) or (n, channels).  In float64, added in sequence.
    """
    if node.operation not in DIRECT_SUMS:
        return None
    kernel, magnitude = np.abs(weights[f"{node.name}/kernel"]), np.abs(x)
    if node.operation == "dense":
        return kernels.matmul(magnitude, kernel, precision="float64", threads=threads)
    settings: Mapping[str, Any] = node.settings
    where = {"strides": settings["strides"], "padding": settings["padding"]}
    return kernels.conv2d(magnitude, kernel, **where, precision="float64", threads=threads)
