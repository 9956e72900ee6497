"""What a forward pass asks of whoever computes it, and the engine that is the definition itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from .. import ops
from ..arithmetic import Arithmetic, round_to
from ..arithmetic.formats import Array
from .fusion import Step

Pair = tuple[int, int]
Padding = tuple[Pair, Pair]


class Engine(Protocol):
    """The operations of one layer, in one arithmetic. Activations are the engine's own; `export` is what users get."""

    def storage(self, x: Any) -> Any: ...
    def pad(self, x: Any, padding: Padding) -> Any: ...
    def conv2d(self, x: Any, kernel: Any, bias: Any, *, strides: Pair, padding: Padding) -> Any: ...
    def batch_norm(self, x: Any, gamma: Any, beta: Any, mean: Any, variance: Any, *, epsilon: float) -> Any: ...
    def relu(self, x: Any) -> Any: ...
    def max_pool(self, x: Any, *, size: Pair, strides: Pair) -> Any: ...
    def add(self, x: Any, y: Any) -> Any: ...
    def mean_pool(self, x: Any) -> Any: ...
    def dense(self, x: Any, kernel: Any, bias: Any) -> Any: ...
    def softmax(self, x: Any) -> Any: ...
    def export(self, x: Any) -> Any: ...


class FusingEngine:
    """The base of engines that can compute a convolution together with what follows it, to the same bits."""

    arithmetic: Arithmetic

    def fused(self, step: Step, weights: Mapping[str, Any], *inputs: Any) -> Any:
        """The activation of the step's last layer."""
        raise NotImplementedError


@dataclass(frozen=True)
class SpecEngine:
    """`ops`, the NumPy definition, with its arithmetic bound: every format and order, nothing fast."""

    arithmetic: Arithmetic

    def storage(self, x: Array) -> Array:
        """Round to storage what enters the network or comes from a layer of another format."""
        own = self.arithmetic.storage
        return x if own.is_working and x.dtype == own.working else round_to(x, own)

    def pad(self, x: Array, padding: Padding) -> Array:
        return ops.pad(x, padding)

    def conv2d(self, x: Array, kernel: Array, bias: Array | None, *, strides: Pair, padding: Padding) -> Array:
        kernel, bias = self.storage(kernel), None if bias is None else self.storage(bias)
        return ops.conv2d(x, kernel, bias, strides=strides, padding=padding, arithmetic=self.arithmetic)

    def batch_norm(self, x: Array, gamma: Array, beta: Array, mean: Array, variance: Array, *, epsilon: float) -> Array:
        vectors = (round_to(vector, self.arithmetic.parameters) for vector in (gamma, beta, mean, variance))
        return ops.batch_norm(x, *vectors, epsilon=epsilon, arithmetic=self.arithmetic)

    def relu(self, x: Array) -> Array:
        return ops.relu(x)

    def max_pool(self, x: Array, *, size: Pair, strides: Pair) -> Array:
        return ops.max_pool(x, size=size, strides=strides)

    def add(self, x: Array, y: Array) -> Array:
        return ops.add(x, y, arithmetic=self.arithmetic)

    def mean_pool(self, x: Array) -> Array:
        return ops.mean_pool(x, arithmetic=self.arithmetic)

    def dense(self, x: Array, kernel: Array, bias: Array) -> Array:
        return ops.dense(x, self.storage(kernel), self.storage(bias), arithmetic=self.arithmetic)

    def softmax(self, x: Array) -> Array:
        return ops.softmax(x, arithmetic=self.arithmetic)

    def export(self, x: Array) -> Array:
        """The type in which users get this precision."""
        return np.asarray(x, self.arithmetic.storage.result)
