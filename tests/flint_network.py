"""A ResNet in FLINT's ball arithmetic: a judge that shares the graph's description and the weights, and no code.

(Johansson, "Arb: efficient arbitrary-precision midpoint-radius interval arithmetic", IEEE Trans. Comput. 66(8), 2017.)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import reduce
from typing import Any

import numpy as np
from flint import arb, arb_mat, ctx

from refnet.graph import Graph, Node

ZERO = arb(0)


def evaluate(graph: Graph, weights: Mapping[str, Any], picture: Any, bits: int) -> Iterator[tuple[Node, Any]]:
    """Each layer and its activation, an object array of balls: (height, width, channels) for one picture."""
    activations: dict[str, Any] = {}
    for node in graph.nodes:
        own = [weights[f"{node.name}/{key}"] for key in node.weights]
        inputs = [activations[name] for name in node.inputs] or [picture]
        with ctx.workprec(bits):
            activations[node.name] = OPERATIONS[node.operation](node, *inputs, *own)
        yield node, activations[node.name]


def balls(numbers: Any) -> Any:
    """An object array of balls without radius from an array of floats or a list, at full length."""
    flat = np.asarray(numbers).ravel().tolist()
    made = np.empty(len(flat), object)
    made[:] = [arb(number) for number in flat]
    return made.reshape(np.shape(numbers))


def windows(shape: tuple[int, ...], size: tuple[int, int], strides: Any) -> Any:
    """Indices into the flattened image that each window reads: (height, width, terms), terms in (kh, kw, c) order."""
    places = np.arange(np.prod(shape)).reshape(shape)
    view = np.lib.stride_tricks.sliding_window_view(places, size, axis=(0, 1))[:: strides[0], :: strides[1]]
    read = np.moveaxis(view, 2, -1)  # (height, width, kh, kw, c)
    return read.reshape(*read.shape[:2], -1)


def _input(node: Node, picture: Any) -> Any:
    return balls(picture)


def _pad(node: Node, x: Any) -> Any:
    return padded(x, node.settings["padding"])


def padded(x: Any, padding: Any) -> Any:
    (top, bottom), (left, right) = padding
    around = np.full((x.shape[0] + top + bottom, x.shape[1] + left + right, x.shape[2]), ZERO, object)
    around[top : top + x.shape[0], left : left + x.shape[1]] = x
    return around


def _conv2d(node: Node, x: Any, kernel: Any, bias: Any = None) -> Any:
    x = padded(x, node.settings["padding"])
    read = windows(x.shape, kernel.shape[:2], node.settings["strides"])
    y = _product(x.ravel()[read.reshape(-1, read.shape[-1])], kernel.reshape(-1, kernel.shape[-1]), bias)
    return y.reshape(*read.shape[:2], -1)


def _dense(node: Node, x: Any, kernel: Any, bias: Any) -> Any:
    return _product(x[None], kernel, bias)[0]


def _product(rows: Any, columns: Any, bias: Any) -> Any:
    left = arb_mat(*rows.shape, rows.ravel().tolist())
    right = arb_mat(*columns.shape, columns.astype(np.float64).ravel().tolist())
    y = np.array((left * right).entries(), object).reshape(len(rows), -1)
    return y if bias is None else y + balls(bias)


def _batch_norm(node: Node, x: Any, gamma: Any, beta: Any, mean: Any, variance: Any) -> Any:
    gammas, betas, means, variances = (balls(vector) for vector in (gamma, beta, mean, variance))
    roots = np.array([(v + arb(node.settings["epsilon"])).sqrt() for v in variances], object)
    return (x - means) * (gammas / roots) + betas


def _relu(node: Node, x: Any) -> Any:
    return np.frompyfunc(lambda ball: ZERO if ball <= 0 else ball.max(ZERO), 1, 1)(x)


def _max_pool(node: Node, x: Any) -> Any:
    read = windows((*x.shape[:2], 1), node.settings["size"], node.settings["strides"])
    pixels = x.reshape(-1, x.shape[-1])[read]  # (height, width, places of the window, channels)
    return reduce(np.frompyfunc(lambda one, other: one.max(other), 2, 1), np.moveaxis(pixels, 2, 0))


def _add(node: Node, x: Any, y: Any) -> Any:
    return x + y


def _mean_pool(node: Node, x: Any) -> Any:
    return x.sum((0, 1)) / (x.shape[0] * x.shape[1])


OPERATIONS: dict[str, Any] = {
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
