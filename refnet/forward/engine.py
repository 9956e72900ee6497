"""What a forward pass asks of whoever computes it, and the engine that is the definition itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from .. import ops
from ..arithmetic import Arithmetic, exported, stored
from ..arithmetic.formats import Array
from ..graph import Node
from ..ops import Padding, Pair
from .constants import NO_CONSTANTS, Constants
from .fusion import Step


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
    """The base of engines that can compute several layers in one step.

    whole_runs: whether that pays for every run of layers, or is there for joined layers only.
    """

    whole_runs: ClassVar[bool] = False
    arithmetic: Arithmetic

    def fused(self, step: Step, planned: Mapping[str, Arithmetic], weights: Mapping[str, Any], *inputs: Any) -> Any:
        """The activation of the step's last layer. planned: the arithmetic of each of its layers; its own is main's."""
        raise NotImplementedError


@dataclass(frozen=True)
class SpecEngine(FusingEngine):
    """`ops`, the NumPy definition, with its arithmetic bound: every format and order, nothing fast.

    layer: the one it computes.  constants: those that are given for the network's batch normalisations.
    """

    arithmetic: Arithmetic
    layer: str = ""
    constants: Constants = NO_CONSTANTS

    def storage(self, x: Array) -> Array:
        """Round to storage what enters the network or comes from a layer of another format."""
        own = self.arithmetic.storage
        return x if own.is_working and getattr(x, "dtype", None) == own.working else stored(x, own)

    def pad(self, x: Array, padding: Padding) -> Array:
        return ops.pad(x, padding)

    def conv2d(self, x: Array, kernel: Array, bias: Array | None, *, strides: Pair, padding: Padding) -> Array:
        kernel, bias = self.storage(kernel), None if bias is None else self.storage(bias)
        return ops.conv2d(x, kernel, bias, strides=strides, padding=padding, arithmetic=self.arithmetic)

    def batch_norm(self, x: Array, gamma: Array, beta: Array, mean: Array, variance: Array, *, epsilon: float) -> Array:
        vectors = (stored(vector, self.arithmetic.parameters) for vector in (gamma, beta, mean, variance))
        given = self.constants.of(self.layer)
        return ops.batch_norm(x, *vectors, epsilon=epsilon, arithmetic=self.arithmetic, **given)

    def relu(self, x: Array) -> Array:
        return ops.relu(x, self.arithmetic.relu)

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

    def fused(self, step: Step, planned: Mapping[str, Arithmetic], weights: Mapping[str, Any], *inputs: Any) -> Any:
        """A convolution with the batch normalisation that is joined with it; or an addition with those that it adds."""
        if step.node("add"):
            return self.shifts_last(step, weights, *inputs)
        settings: Mapping[str, Any] = step.main.settings
        (norm,) = step.all("batch_norm")
        kernel, bias = self.storage(weights[f"{step.main.name}/kernel"]), None
        vectors = self.norm_vectors(step, norm, planned[norm.name], weights)
        folds = self.arithmetic.norm.applied == "none"
        if folds:
            kernel, bias = ops.folded_kernel(kernel, *vectors, arithmetic=self.arithmetic)
        y = self.conv2d(inputs[0], kernel, bias, strides=settings["strides"], padding=settings["padding"])
        return y if folds else ops.normalised(y, vectors, arithmetic=self.arithmetic)

    def shifts_last(self, step: Step, weights: Mapping[str, Any], *inputs: Any) -> Any:
        """What the step's addition gives where shifts come last."""
        addition, given = step.nodes[-1], dict(zip(step.inputs, inputs, strict=True))
        norms = {node.name: node for node in step.all("batch_norm")}
        x, y = (given[norms[name].inputs[0] if name in norms else name] for name in addition.inputs)
        vectors = (
            self.norm_vectors(step, norms[name], self.arithmetic, weights) if name in norms else ()
            for name in addition.inputs
        )
        return ops.shifts_last(x, y, *vectors, arithmetic=self.arithmetic)

    def norm_vectors(
        self, step: Step, norm: Node, arithmetic: Arithmetic, weights: Mapping[str, Any]
    ) -> tuple[Any, ...]:
        """ops.norm_vectors of a batch normalisation of the step, which computes in that arithmetic."""
        own, bias = (stored(weights[f"{norm.name}/{key}"], arithmetic.parameters) for key in norm.weights), None
        if arithmetic.norm.joined and "bias" in step.main.weights:
            bias = self.storage(weights[f"{step.main.name}/bias"])
        how: dict[str, Any] = {"epsilon": norm.settings["epsilon"], "bias": bias, **self.constants.of(norm.name)}
        return ops.norm_vectors(*own, arithmetic=arithmetic, **how)

    def export(self, x: Array) -> Array:
        """The type in which users get this precision."""
        return exported(x, self.arithmetic.storage)
