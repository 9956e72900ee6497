"""The fast engine: convolution, dense and what follows them by kernels, with the bits of the definition."""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar

import numpy as np

from .. import ops
from ..arithmetic import Arithmetic, planewise, stored
from ..arithmetic.formats import Array
from ..kernels import elementwise, pooling
from ..kernels.any_order import convolve, prepare
from ..kernels.convolution import NO_PADDING, Epilogue
from ..ops import Padding, Pair
from .constants import NO_CONSTANTS, Constants
from .engine import SpecEngine
from .fusion import Step

T = TypeVar("T")
Kept = MutableMapping[str, tuple[Arithmetic, str | None, Any]]


@dataclass(frozen=True)
class KernelEngine(SpecEngine):
    """threads: how many it may use.  kept: what was last prepared, by what it is."""

    whole_runs: ClassVar[bool] = True
    threads: int = 1
    kept: Kept = field(default_factory=dict)

    def conv2d(self, x: Array, kernel: Array, bias: Array | None, *, strides: Pair, padding: Padding) -> Array:
        return self._convolve(x, kernel, bias, strides=strides, padding=padding)

    def dense(self, x: Array, kernel: Array, bias: Array) -> Array:
        pixels = planewise(lambda plane: plane[:, None, None, :], x)
        y = self._convolve(pixels, kernel[None, None], bias, strides=(1, 1), padding=NO_PADDING)
        return planewise(lambda plane: plane[:, 0, 0, :], y)

    def batch_norm(self, x: Array, gamma: Array, beta: Array, mean: Array, variance: Array, *, epsilon: float) -> Array:
        def vectors() -> tuple[Any, ...]:
            own = (stored(vector, self.arithmetic.parameters) for vector in (gamma, beta, mean, variance))
            how: dict[str, Any] = {"epsilon": epsilon, "arithmetic": self.arithmetic, **self.constants.of(self.layer)}
            return ops.norm_vectors(*own, **how)

        of_weights = self._prepared(f"{self.layer} vectors", self.arithmetic, vectors, self.constants.hash)
        return elementwise.normalised(x, of_weights, arithmetic=self.arithmetic, threads=self.threads)

    def relu(self, x: Array) -> Array:
        return elementwise.relu(x, arithmetic=self.arithmetic, threads=self.threads)

    def add(self, x: Array, y: Array) -> Array:
        return elementwise.add(x, y, arithmetic=self.arithmetic, threads=self.threads)

    def max_pool(self, x: Array, *, size: Pair, strides: Pair) -> Array:
        return pooling.max_pool(x, size=size, strides=strides, threads=self.threads)

    def mean_pool(self, x: Array) -> Array:
        return pooling.mean_pool(x, arithmetic=self.arithmetic, threads=self.threads)

    def softmax(self, x: Array) -> Array:
        return ops.softmax(x, arithmetic=self.arithmetic, total=pooling.row_sums)

    def fused(self, step: Step, planned: Mapping[str, Arithmetic], weights: Mapping[str, Any], *inputs: Any) -> Any:
        """A convolution and what follows it, in one pass over the outputs; without a convolution as defined."""
        if not step.node("conv2d"):
            return super().fused(step, planned, weights, *inputs)
        settings: Mapping[str, Any] = step.main.settings
        paddings = [node.settings["padding"] for node in (step.main, step.node("pad")) if node]
        form, vectors = self._norm(step, planned, weights)
        rectifier = step.node("relu")
        epilogue = Epilogue(
            norm=form,
            vectors=() if form == "none" else vectors,
            shortcut=inputs[1] if step.node("add") else None,
            relu=planned[rectifier.name].relu if rectifier else "none",
        )
        packed = self._packed_for(step, planned, weights, vectors)
        padding = _together(paddings)
        return self._run(inputs[0], *packed, strides=settings["strides"], padding=padding, epilogue=epilogue)

    def _norm(
        self, step: Step, planned: Mapping[str, Arithmetic], weights: Mapping[str, Any]
    ) -> tuple[str, tuple[Any, ...]]:
        """How the step's batch normalisations are applied, a name in NORMS, and their vectors."""
        norms, addition = step.all("batch_norm"), step.node("add")
        if not norms:
            return "none", ()
        arithmetic = planned[norms[0].name]
        if addition and planned[addition.name].addition == "shifts-last":
            what, form = addition.name, "shifts-last"
        else:
            what, form = norms[0].name, arithmetic.norm.applied

        def vectors() -> tuple[Any, ...]:
            of_each = [self.norm_vectors(step, norm, arithmetic, weights) for norm in norms]
            if form != "shifts-last":
                return of_each[0]
            factors, shifts = zip(*of_each, strict=True)
            return factors[0], ops.sum_of_shifts(shifts, arithmetic=arithmetic), *factors[1:]

        return form, self._prepared(f"{what} vectors", arithmetic, vectors, self.constants.hash)

    def _packed_for(
        self, step: Step, planned: Mapping[str, Arithmetic], weights: Mapping[str, Any], vectors: tuple[Any, ...]
    ) -> tuple[Any, Any]:
        """The kernel and the bias that a step's convolution runs with; vectors: its batch normalisation's, if any."""
        kernel, *bias = (weights[f"{step.main.name}/{key}"] for key in step.main.weights)
        norm = step.node("batch_norm")
        joined = norm is not None and planned[norm.name].norm.joined
        if joined and self.arithmetic.norm.applied == "none":
            return self._prepared(
                f"{self.layer} folded",
                self.arithmetic,
                lambda: self._packed(*ops.folded_kernel(self.storage(kernel), *vectors, arithmetic=self.arithmetic)),
                self.constants.hash,
            )
        packed, offset = self._prepared_kernel(kernel, bias[0] if bias else None)
        return packed, None if joined else offset

    def _convolve(self, x: Array, kernel: Array, bias: Array | None, **how: Any) -> Any:
        return self._run(x, *self._prepared_kernel(kernel, bias), **how)

    def _run(self, x: Any, packed: Any, bias: Any, **how: Any) -> Any:
        return convolve(x, packed, bias, arithmetic=self.arithmetic, threads=self.threads, **how)

    def _prepared_kernel(self, kernel: Any, bias: Any) -> tuple[Any, Any]:
        return self._prepared(self.layer, self.arithmetic, lambda: self._packed(kernel, bias))

    def _packed(self, kernel: Any, bias: Any) -> tuple[Any, Any]:
        return prepare(self.storage(kernel), self.arithmetic), None if bias is None else self.storage(bias)

    def _prepared(self, what: str, arithmetic: Arithmetic, prepare: Callable[[], T], given: str | None = None) -> T:
        """What weights become in an arithmetic; only that of the last one is kept. given: the constants' hash."""
        kept = self.kept.get(what)  # read once: a pass in another arithmetic may replace it at any time
        if kept is None or kept[:2] != (arithmetic, given):
            kept = self.kept[what] = arithmetic, given, prepare()
        found: T = kept[2]
        return found


def fastest_engine(
    arithmetic: Arithmetic,
    layer: str,
    constants: Constants = NO_CONSTANTS,
    threads: int = 1,
    kept: Kept | None = None,
) -> SpecEngine:
    """Kernels where every order has one, else the definition: slow, with the same meaning."""
    if arithmetic.tiled:
        return KernelEngine(arithmetic, layer, constants, threads, {} if kept is None else kept)
    return SpecEngine(arithmetic, layer, constants)


def _together(paddings: list[Any]) -> Padding:
    """The padding that has the effect of several one after another."""
    (top, bottom), (left, right) = np.sum(paddings, axis=0).tolist()
    return (top, bottom), (left, right)
