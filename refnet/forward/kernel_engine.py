"""The fast engine: convolution, dense and what follows them by kernels, with the bits of the definition."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .. import ops
from ..arithmetic import Arithmetic, round_to
from ..arithmetic.formats import Array
from ..kernels import pooling
from ..kernels.conv2d import NO_PADDING, Epilogue, PackedKernel, convolve, pack_kernel
from .engine import Padding, Pair, SpecEngine
from .fusion import Step

PackedKernels = MutableMapping[str, tuple[Arithmetic, PackedKernel]]


@dataclass(frozen=True)
class KernelEngine(SpecEngine):
    """layer: the one it computes.  threads: how many it may use.  packed: by layer, the kernel last packed for it."""

    layer: str = ""
    threads: int = 1
    packed: PackedKernels = field(default_factory=dict)

    def conv2d(self, x: Array, kernel: Array, bias: Array | None, *, strides: Pair, padding: Padding) -> Array:
        return self._convolve(x, kernel, bias, strides=strides, padding=padding)

    def dense(self, x: Array, kernel: Array, bias: Array) -> Array:
        images, terms = x.shape
        pixels = x.reshape(images, 1, 1, terms)
        y = self._convolve(pixels, kernel[None, None], bias, strides=(1, 1), padding=NO_PADDING)
        return y.reshape(images, -1)

    def max_pool(self, x: Array, *, size: Pair, strides: Pair) -> Array:
        return pooling.max_pool(x, size=size, strides=strides, threads=self.threads)

    def mean_pool(self, x: Array) -> Array:
        return pooling.mean_pool(x, arithmetic=self.arithmetic, threads=self.threads)

    def softmax(self, x: Array) -> Array:
        return ops.softmax(x, arithmetic=self.arithmetic, total=pooling.row_sums)

    def fused(self, step: Step, weights: Mapping[str, Array], *inputs: Array) -> Array:
        """A convolution and what follows it, in one pass over the outputs."""
        settings: Mapping[str, Any] = step.main.settings
        kernel, *bias = (weights[f"{step.main.name}/{key}"] for key in step.main.weights)
        pad, norm = step.node("pad"), step.node("batch_norm")
        paddings = [node.settings["padding"] for node in (step.main, pad) if node]
        epilogue = Epilogue(
            norm=self.arithmetic.batch_norm if norm else "none",
            vectors=self._norm_vectors(norm.name, weights, norm.settings["epsilon"]) if norm else (),
            shortcut=inputs[1] if step.node("add") else None,
            relu=step.node("relu") is not None,
        )
        how = {"strides": settings["strides"], "padding": _together(paddings), "epilogue": epilogue}
        return self._convolve(inputs[0], kernel, bias[0] if bias else None, **how)

    def _norm_vectors(self, layer: str, weights: Mapping[str, Array], epsilon: Any) -> tuple[Array, ...]:
        names = ("gamma", "beta", "moving_mean", "moving_variance")
        vectors = (round_to(weights[f"{layer}/{name}"], self.arithmetic.parameters) for name in names)
        return ops.norm_vectors(*vectors, epsilon=epsilon, arithmetic=self.arithmetic)

    def _convolve(self, x: Array, kernel: Array, bias: Array | None, **how: Any) -> Array:
        kept = self.packed.get(self.layer)
        if kept is None or kept[0] != self.arithmetic:
            kept = self.arithmetic, pack_kernel(self.storage(kernel), self.arithmetic)
            self.packed[self.layer] = kept
        bias = None if bias is None else self.storage(bias)
        return convolve(x, kept[1], bias, arithmetic=self.arithmetic, threads=self.threads, **how)


def _together(paddings: list[Any]) -> Padding:
    """The padding that has the effect of several one after another."""
    (top, bottom), (left, right) = np.sum(paddings, axis=0).tolist()
    return (top, bottom), (left, right)
