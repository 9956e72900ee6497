"""The way back through a layer: how much of its output's error is due to each of its inputs, for any error of these.

Between a backend's activations y and the true ones t every layer without its rounding is linear, exactly: convolution,
batch normalisation and the others are; and ReLU and max pool are where they go from t to y along the straight line. Its
transpose takes weights of the output's errors to weights of the input's errors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import kernels
from ..graph import Node

Float64 = NDArray[np.float64]


@dataclass(frozen=True)
class Layer:
    """A layer between two runs. y, t: its first input in one and in the other, (n, ...) float64.

    weights: the network's.  threads: of convolutions, whose bits do not depend on it.
    """

    node: Node
    y: Float64
    t: Float64
    weights: Mapping[str, NDArray[np.floating]]
    threads: int = 1

    def own(self, name: str) -> Float64:
        """One of its weights, in float64."""
        return np.asarray(self.weights[f"{self.node.name}/{name}"], np.float64)

    def setting(self, name: str) -> Any:
        return self.node.settings[name]

    def transposed(self, g: Float64) -> Float64:
        """g: (n, ...) float64, one weight for each output. Gives one for each number of the input; of an addition, for
        each of its inputs.

        sum g (f(y) - f(t)) is sum transposed(g) (y - t) up to the rounding of float64.
        """
        return TRANSPOSES[self.node.operation](self, g)


def _pad(layer: Layer, g: Float64) -> Float64:
    (top, _), (left, _) = layer.setting("padding")
    height, width = layer.y.shape[1:3]
    return g[:, top : top + height, left : left + width]


def _conv2d(layer: Layer, g: Float64) -> Float64:
    """A convolution with the kernel turned round, over g with zeros where strides left outputs out and at the edges."""
    kernel, strides = layer.own("kernel"), layer.setting("strides")
    turned = np.ascontiguousarray(kernel[::-1, ::-1].transpose(0, 1, 3, 2))
    (top, bottom), (left, right) = layer.setting("padding")
    height, width = (layer.y.shape[1] + top + bottom, layer.y.shape[2] + left + right)
    before = [size - 1 for size in kernel.shape[:2]]
    spread = np.zeros((len(g), height + before[0], width + before[1], g.shape[-1]))
    places = (slice(b, b + n * by, by) for b, n, by in zip(before, g.shape[1:3], strides, strict=True))
    spread[:, *places] = g
    padded = np.asarray(kernels.conv2d(spread, turned, precision="float64", threads=layer.threads), np.float64)
    return padded[:, top : height - bottom, left : width - right]


def _batch_norm(layer: Layer, g: Float64) -> Float64:
    return g * (layer.own("gamma") / np.sqrt(layer.own("moving_variance") + layer.setting("epsilon")))


def _relu(layer: Layer, g: Float64) -> Float64:
    """The slope from t to y: 1 where both are positive, 0 where neither is."""
    y, t = layer.y, layer.t
    rise = np.maximum(y, 0) - np.maximum(t, 0)
    return g * np.divide(rise, y - t, out=(y > 0).astype(np.float64), where=y != t)


def _max_pool(layer: Layer, g: Float64) -> Float64:
    """Of each window, to where y is largest and to where t is, in the parts that give the difference of the two."""
    size, strides, channels = layer.setting("size"), layer.setting("strides"), g.shape[-1]
    y, t = (_windows(x, size, strides) for x in (layer.y, layer.t))
    of_y, of_t = (np.argmax(x, axis=0)[None] for x in (y, t))
    there, here = (np.take_along_axis(y, at, 0) - np.take_along_axis(t, at, 0) for at in (of_y, of_t))
    rise = np.take_along_axis(y, of_y, 0) - np.take_along_axis(t, of_t, 0)  # never above `there`, never below `here`
    part = np.divide(rise - here, there - here, out=np.ones_like(rise), where=there != here)
    back = np.zeros(y.shape)
    for at, of_window in ((of_y, part), (of_t, 1 - part)):
        np.put_along_axis(back, at, np.take_along_axis(back, at, 0) + of_window * g[None], 0)
    found = np.zeros_like(layer.y)
    for place, window in enumerate(back):
        rows, columns = (
            slice(first, first + n * by, by)
            for first, n, by in zip(divmod(place, size[1]), g.shape[1:3], strides, strict=True)
        )
        found[:, rows, columns, :channels] += window
    return found


def _windows(x: Float64, size: tuple[int, int], strides: tuple[int, int]) -> Float64:
    """(n, h, w, c) -> (places of a window, n, oh, ow, c)."""
    every = np.lib.stride_tricks.sliding_window_view(x, size, axis=(1, 2))[:, :: strides[0], :: strides[1]]
    return np.moveaxis(every.reshape(*every.shape[:-2], -1), -1, 0)


def _mean_pool(layer: Layer, g: Float64) -> Float64:
    height, width = layer.y.shape[1:3]
    return np.broadcast_to(g[:, None, None, :] / (height * width), layer.y.shape)


def _dense(layer: Layer, g: Float64) -> Float64:
    return np.asarray(kernels.matmul(g, layer.own("kernel").T, precision="float64", threads=layer.threads))


TRANSPOSES: Mapping[str, Callable[[Layer, Float64], Float64]] = {
    "pad": _pad,
    "conv2d": _conv2d,
    "batch_norm": _batch_norm,
    "relu": _relu,
    "max_pool": _max_pool,
    "add": lambda layer, g: g,
    "mean_pool": _mean_pool,
    "dense": _dense,
}
