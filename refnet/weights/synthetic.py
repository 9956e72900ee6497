"""Weights without a download: any ResNet, any seed, bit-identical on every machine, and as tame as trained ones.

Kernels are drawn by `counter`, from seed and tensor name alone. Then the network is calibrated as a trained one is: it
runs forward once, layer by layer, on eight `scenes`; each convolution's channels are scaled to drawn variances, and
each batch normalisation takes the mean and the variance that its input has. The run is in `fixed_point`, whose matrix
products are exact in integers; so BLAS makes it fast, and no order of addition, thread count or instruction set can
change a bit. (A stored table of statistics would fit one depth and seed only; refnet's own kernels come later in the
flow of imports and would be slower.)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import fsum, sqrt
from typing import Any

import numpy as np

from ..errors import InputError
from ..graph import Graph, Node
from . import fixed_point
from .counter import normal, normal_integers, uniform
from .scenes import scenes

PICTURES, SIZE = 8, 224  # what the network is calibrated on; at another size borders would weigh otherwise
LOGIT_DEVIATION = 3.0  # between pictures, of one class: the best of 1000 classes then gets some tenths of the softmax


@dataclass(frozen=True)
class Spread:
    """How a batch normalisation's gamma (base-2 logarithm) and beta (in units of gamma's centre) scatter."""

    log_gamma: float
    log_gamma_deviation: float
    beta: float
    beta_deviation: float


SPREADS = {  # by the end of the layer's name; "" is every other one
    "_3_bn": Spread(-2.5, 0.6, -0.2, 0.8),  # closes a block: small, and negative lest the sum of blocks drifts upwards
    "_0_bn": Spread(-0.5, 0.5, 0.0, 1.0),
    "": Spread(-0.5, 0.5, 0.0, 1.2),  # so wide that some channels are nearly always on, others nearly dead
}


def synthetic_weights(graph: Graph, seed: int = 0) -> dict[str, np.ndarray]:
    """All tensors of `graph`: Keras name -> float32 array, in Keras's order.

    A function of depth, variant, classes, include_top and seed; the graph's input size plays no part. The graph
    without top has the same tensors, less the classifier. Meant for pictures preprocessed as Keras does ("caffe").
    Raises InputError unless the seed is an integer of at least 0.
    """
    if not isinstance(seed, (int, np.integer)) or seed < 0:
        raise InputError(f"seed {seed!r}", expected="an integer of at least 0")
    last_reader = {name: node.name for node in graph.nodes for name in node.inputs}
    activations: dict[str, np.ndarray] = {}
    tensors: dict[str, np.ndarray] = {}
    for node in graph.nodes:
        inputs = [activations[name] for name in node.inputs]
        own, activations[node.name] = LAYERS[node.operation](seed, node, *inputs)
        tensors |= {f"{node.name}/{key}": _stored(own[key]) for key in node.weights}
        for name in node.inputs:
            if last_reader[name] == node.name:
                del activations[name]
    return tensors


def _stored(values: np.ndarray) -> np.ndarray:
    """float32, rounded once; zeros are +0."""
    return np.ascontiguousarray(values + 0.0, dtype=np.float32)


Result = tuple[Mapping[str, np.ndarray], np.ndarray]


def _setting(node: Node, key: str) -> Any:
    return node.settings[key]


def _input(seed: int, node: Node) -> Result:
    return {}, fixed_point.to_fixed(scenes(seed, PICTURES, SIZE))


def _pad(seed: int, node: Node, x: np.ndarray) -> Result:
    return {}, fixed_point.pad(x, _setting(node, "padding"))


def _conv2d(seed: int, node: Node, x: np.ndarray) -> Result:
    """Kernel and bias; the output is real-valued, each channel with the variance drawn for it."""
    integers = _kernel(seed, node)
    y = fixed_point.convolve(x, integers, strides=_setting(node, "strides"), padding=_setting(node, "padding"))
    _, variance = fixed_point.mean_and_variance(y)
    deviation = np.sqrt(_variance(seed, node.name, variance.shape))
    scale = deviation / np.sqrt(np.maximum(variance, 1.0))
    bias = 0.2 * deviation * normal(seed, f"{node.name}/bias", variance.shape) * ("bias" in node.weights)
    y *= scale
    y += bias
    return {"kernel": integers * (scale * fixed_point.UNIT), "bias": bias}, y


def _kernel(seed: int, node: Node) -> np.ndarray:
    """Integers, float64: white noise; for windows of several pixels also blobs, edges and bars, as trained ones."""
    name, shape = f"{node.name}/kernel", node.weights["kernel"]
    kernel = normal_integers(seed, name, shape)
    if shape[0] > 1:
        strokes = normal_integers(seed, f"{name}/strokes", (5, *shape[2:]))
        if shape[2] == 3:
            strokes += 2 * strokes[:, 1:2]  # the colours of a picture go together
        kernel = 16 * kernel + np.tensordot(_strokes(shape[0]), strokes, axes=1)
    return kernel


def _strokes(size: int) -> np.ndarray:
    """(size, size, 5) integers: a blob, edges down and across, bars upright and tilted; sums of two edges (or of two
    bars) are edges (or bars) of any orientation. Polynomials under a window, as derivatives of a Gaussian are.
    """
    r = size // 2
    y, x = np.mgrid[-r : r + 1, -r : r + 1].astype(float)
    window = ((r + 1) ** 2 - y * y) * ((r + 1) ** 2 - x * x)
    return np.stack([y * 0 + r * r, r * y, r * x, y * y - x * x, 2 * x * y], axis=-1) * window[..., None]


def _variance(seed: int, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Of a convolution's output channels, 2 down to 1e-4: most within a decade of the largest, few at the bottom."""
    first, second = uniform(seed, f"{name}/variance", (2, *shape))
    return _power_of_two(1 - 14.25 * first * second)


def _power_of_two(exponent: np.ndarray) -> np.ndarray:
    """2^exponent, drawn as chords between whole exponents: a libm's pow would round differently by machine."""
    whole = np.floor(exponent)
    return np.ldexp(1 + (exponent - whole), whole.astype(int))


def _batch_norm(seed: int, node: Node, x: np.ndarray) -> Result:
    spread = next(spread for ending, spread in SPREADS.items() if node.name.endswith(ending))
    mean, variance = fixed_point.mean_and_variance(x)
    log_gamma = spread.log_gamma + spread.log_gamma_deviation * normal(seed, f"{node.name}/gamma", mean.shape)
    gamma = _power_of_two(log_gamma)
    beta = spread.beta + spread.beta_deviation * normal(seed, f"{node.name}/beta", mean.shape)
    beta *= _power_of_two(np.array(spread.log_gamma))
    y = x - mean
    y *= gamma / np.sqrt(variance + _setting(node, "epsilon"))
    y += beta
    return {"gamma": gamma, "beta": beta, "moving_mean": mean, "moving_variance": variance}, fixed_point.to_fixed(y)


def _relu(seed: int, node: Node, x: np.ndarray) -> Result:
    return {}, np.maximum(x, 0.0)


def _max_pool(seed: int, node: Node, x: np.ndarray) -> Result:
    return {}, fixed_point.max_pool(x, size=_setting(node, "size"), strides=_setting(node, "strides"))


def _add(seed: int, node: Node, x: np.ndarray, y: np.ndarray) -> Result:
    return {}, x + y


def _mean_pool(seed: int, node: Node, x: np.ndarray) -> Result:
    return {}, np.rint(x.sum(axis=(1, 2)) / (x.shape[1] * x.shape[2]))


def _dense(seed: int, node: Node, x: np.ndarray) -> Result:
    """Kernel and bias such that a class's logit scatters by LOGIT_DEVIATION between pictures, around nearly 0."""
    integers = normal_integers(seed, f"{node.name}/kernel", node.weights["kernel"])
    y = fixed_point.exact_product(x, integers)
    mean, variance = fixed_point.mean_and_variance(y)
    scale = LOGIT_DEVIATION / sqrt(max(fsum(variance) / len(variance), 1.0))
    bias = 0.3 * normal(seed, f"{node.name}/bias", mean.shape) - mean * scale
    return {"kernel": integers * (scale * fixed_point.UNIT), "bias": bias}, y * scale + bias


LAYERS: dict[str, Callable[..., Result]] = {  # (seed, node, *activations it reads) -> (own tensors, activation)
    "input": _input,
    "pad": _pad,
    "conv2d": _conv2d,
    "batch_norm": _batch_norm,
    "relu": _relu,
    "max_pool": _max_pool,
    "add": _add,
    "mean_pool": _mean_pool,
    "dense": _dense,
}
