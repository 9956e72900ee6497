"""The fast engine: convolution, dense and what follows them by kernels, with the bits of the definition."""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .. import ops
from ..arithmetic import Arithmetic, round_to
from ..arithmetic.formats import Array
from ..graph import Node
from ..kernels import pooling
from ..kernels.convolution import NO_PADDING, Epilogue, convolve, pack_kernel
from .engine import FusingEngine, Padding, Pair, SpecEngine
from .fusion import Step

Kept = MutableMapping[str, tuple[Arithmetic, Any]]


@dataclass(frozen=True)
class KernelEngine(SpecEngine, FusingEngine):
    """layer: the one it computes.  threads: how many it may use.  kept: by layer, what was last prepared for it."""

    layer: str = ""
    threads: int = 1
    kept: Kept = field(default_factory=dict)

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
            vectors=self._prepared(norm.name, lambda: self._norm_vectors(norm, weights)) if norm else (),
            shortcut=inputs[1] if step.node("add") else None,
            relu=step.node("relu") is not None,
        )
        how = {"strides": settings["strides"], "padding": _together(paddings), "epilogue": epilogue}
        return self._convolve(inputs[0], kernel, bias[0] if bias else None, **how)

    def _norm_vectors(self, norm: Node, weights: Mapping[str, Array]) -> tuple[Array, ...]:
        own = (round_to(weights[f"{norm.name}/{key}"], self.arithmetic.parameters) for key in norm.weights)
        return ops.norm_vectors(*own, epsilon=norm.settings["epsilon"], arithmetic=self.arithmetic)

    def _convolve(self, x: Array, kernel: Array, bias: Array | None, **how: Any) -> Array:
        packed = self._prepared(self.layer, lambda: pack_kernel(self.storage(kernel), self.arithmetic))
        bias = None if bias is None else self.storage(bias)
        return convolve(x, packed, bias, arithmetic=self.arithmetic, threads=self.threads, **how)

    def _prepared(self, layer: str, prepare: Callable[[], Any]) -> Any:
        """What a layer's weights become in this arithmetic; only the last one's is kept."""
        if layer not in self.kept or self.kept[layer][0] != self.arithmetic:
            self.kept[layer] = self.arithmetic, prepare()
        return self.kept[layer][1]


def _together(paddings: list[Any]) -> Padding:
    """The padding that has the effect of several one after another."""
    (top, bottom), (left, right) = np.sum(paddings, axis=0).tolist()
    return (top, bottom), (left, right)
