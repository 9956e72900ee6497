"""Layers that compute by another rule than ResNet's: what some programs do instead, as engines for single layers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from ..arithmetic.formats import Array
from ..forward.engine import SpecEngine
from ..forward.kernel_engine import KernelEngine
from ..ops import Padding, Pair


@dataclass(frozen=True)
class AveragePool(KernelEngine):
    """The mean of each window, zeros of the padding included, in place of its largest value."""

    def max_pool(self, x: Array, *, size: Pair, strides: Pair) -> Array:
        windows = sliding_window_view(x, size, (1, 2))[:, :: strides[0], :: strides[1]]
        return np.asarray(windows.mean((-2, -1), dtype=np.float64), x.dtype)


@dataclass(frozen=True)
class InfinitePad(KernelEngine):
    """A padding that no maximum takes, as max pooling with padding of its own has."""

    def pad(self, x: Array, padding: Padding) -> Array:
        return np.pad(x, ((0, 0), *padding, (0, 0)), constant_values=-np.inf)


@dataclass(frozen=True)
class BatchStatistics(KernelEngine):
    """Batch normalisation as in training: mean and (biased) variance of the pictures given, over n, h and w.

    Both in float64 and rounded once to the type of x; never folded, as they are not known before. (Ioffe and Szegedy
    2015, arXiv 1502.03167, algorithm 1.)
    """

    whole_runs: ClassVar[bool] = False

    def batch_norm(self, x: Any, gamma: Array, beta: Array, mean: Array, variance: Array, *, epsilon: float) -> Any:
        mean = x.mean((0, 1, 2), dtype=np.float64)
        variance = np.square(x - mean).mean((0, 1, 2), dtype=np.float64)
        own = mean.astype(x.dtype), variance.astype(x.dtype)
        folded = self.arithmetic.norm.applied == "none"
        arithmetic = replace(self.arithmetic, batch_norm="centred") if folded else self.arithmetic
        return SpecEngine(arithmetic, self.layer).batch_norm(x, gamma, beta, *own, epsilon=epsilon)
