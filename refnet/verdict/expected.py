"""The square of the rounding error that a chain of additions is expected to have, output by output."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arithmetic import Arithmetic
from ..forward.kernel_engine import KernelEngine
from ..forward.walk import evaluate
from ..graph import Node

Array = NDArray[np.floating]
Float64 = NDArray[np.float64]


def chain_squares(node: Node, weights: Mapping[str, Array], x: Array, e: Array) -> tuple[Float64, Float64]:
    """Sum of the squares of all partial sums of a convolution or dense layer, for the bias added last and first.

    Each is the mean over all permutations of the terms: of N terms that are not zero, with the sum S and the sum of
    squares Q, the first k are drawn without replacement, so that their sum has the mean square
    k Q / N + k (k - 1) (S^2 - Q) / (N (N - 1)), to which a bias b that comes first adds b^2 + 2 b S k / N.
    The rounding of each has a variance in proportion to its square.  e: the exact outputs; x: the inputs.
    """
    kernel = np.asarray(weights[f"{node.name}/kernel"], np.float64)
    bias = np.asarray(weights[f"{node.name}/bias"], np.float64) if "bias" in node.weights else 0.0
    wide = np.asarray(x, np.float64)
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        q = _without_bias(node, kernel**2, wide**2)
        n = _without_bias(node, np.ones((*kernel.shape[:-1], 1)), np.asarray(wide != 0, np.float64))
        s = np.asarray(e, np.float64) - bias
        walk = (n + 1) * (q / 6 + s**2 / 3)
        return walk + (s + bias) ** 2, walk + (n + 1) * bias * s + n * bias**2


def _without_bias(node: Node, kernel: Float64, x: Float64) -> Any:
    weights = {f"{node.name}/kernel": kernel, f"{node.name}/bias": np.zeros(kernel.shape[-1])}
    return evaluate(node, KernelEngine(_QUICK, node.name), weights, x)


_QUICK = Arithmetic("float64")
