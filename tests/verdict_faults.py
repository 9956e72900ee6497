"""Faults put into a network on purpose, each with the layer where a verdict must find it. No framework takes part."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

import refnet
from refnet.arithmetic import Arithmetic
from refnet.forward.kernel_engine import KernelEngine
from refnet.forward.walk import evaluate, walk
from refnet.graph import Graph, Node
from refnet.ops import pad

ARITHMETIC = Arithmetic("float32", order="permuted:77", batch_norm="shifted", fma=False)
"""Of the made-up backend: an order that no simulation has."""

Tensors = Mapping[str, np.ndarray]


def picture(size: int, *, place: int = 80) -> np.ndarray:
    """A piece of the bundled picture, (1, size, size, 3)."""
    whole = refnet.load_image(refnet.bundled_image())
    return whole[:, place : place + size, place : place + size].copy()


def backend_trace(x: np.ndarray, graph: Graph, weights: Tensors, arithmetic: Arithmetic = ARITHMETIC) -> dict[str, Any]:
    """Every layer as a backend with these weights and this graph would give it, in float32."""
    seen: dict[str, np.ndarray] = {}
    engines = {node.name: KernelEngine(arithmetic, node.name) for node in graph.nodes}
    walk(graph, weights, engines, x, probe=lambda node, activation: seen.__setitem__(node.name, activation))
    return seen


def continued(
    trace: dict[str, Any], graph: Graph, weights: Tensors, layer: str, activation: np.ndarray
) -> dict[str, Any]:
    """The trace of a backend that gives this activation at `layer` and goes on with it."""
    seen = {layer: activation}
    for node in graph.nodes[graph.names.index(layer) + 1 :]:
        inputs = [seen.get(name, trace[name]) for name in node.inputs]
        seen[node.name] = evaluate(node, KernelEngine(ARITHMETIC, node.name), weights, *inputs)
    return {**trace, **seen}


@dataclass(frozen=True)
class Fault:
    """name: what is wrong.  layer: where.  activation: what that layer gives, from node, weights and inputs."""

    name: str
    layer: str
    activation: Callable[..., np.ndarray]


def _computed(node: Node, weights: Tensors, *x: np.ndarray) -> np.ndarray:
    result: np.ndarray = evaluate(node, KernelEngine(ARITHMETIC, node.name), weights, *x)
    return result


def _with_settings(**settings: Any) -> Callable[..., np.ndarray]:
    return lambda node, weights, *x: _computed(replace(node, settings={**node.settings, **settings}), weights, *x)


def _with_weights(key: str, change: Callable[[np.ndarray], np.ndarray]) -> Callable[..., np.ndarray]:
    def activation(node: Node, weights: Tensors, *x: np.ndarray) -> np.ndarray:
        own = {f"{node.name}/{name}": weights[f"{node.name}/{name}"] for name in node.weights}
        changed = np.ascontiguousarray(change(own[f"{node.name}/{key}"]), np.float32)
        return _computed(node, {**own, f"{node.name}/{key}": changed}, *x)

    return activation


def _one_channel(kernel: np.ndarray) -> np.ndarray:
    changed = kernel.copy()
    changed[1, 1, :, 5] *= 1.25
    return changed


def _swapped(node: Node, weights: Tensors, *x: np.ndarray) -> np.ndarray:
    gamma, beta, mean, variance = (weights[f"{node.name}/{key}"] for key in node.weights)
    own = dict(zip((f"{node.name}/{key}" for key in node.weights), (gamma, beta, variance, np.abs(mean)), strict=True))
    return _computed(node, own, *x)


def _border(node: Node, weights: Tensors, *x: np.ndarray) -> np.ndarray:
    """The first row of outputs saw something else than zeros above the picture."""
    y = _computed(node, weights, *x).copy()
    y[:, 0] += 1e-3 * np.abs(y).max()
    return y


def _average(node: Node, weights: Tensors, x: np.ndarray) -> np.ndarray:
    windows = [x[:, i:, j:][:, : x.shape[1] - 2 : 2, : x.shape[2] - 2 : 2] for i in range(3) for j in range(3)]
    return np.mean(windows, axis=0, dtype=np.float32)


def _int8(kernel: np.ndarray) -> np.ndarray:
    step = np.abs(kernel).max() / 127
    return np.rint(kernel / step) * step


def _minus_infinity(node: Node, weights: Tensors, x: np.ndarray) -> np.ndarray:
    """The padding before the pool, with what a framework pads a maximum with."""
    inside = pad(np.ones_like(x), node.settings["padding"])
    return np.where(inside > 0, pad(x, node.settings["padding"]), np.finfo(np.float32).min)


def _one_nan(node: Node, weights: Tensors, *x: np.ndarray) -> np.ndarray:
    y = _computed(node, weights, *x).copy()
    y.reshape(-1)[7] = np.nan
    return y


def _one_logit(bias: np.ndarray) -> np.ndarray:
    return bias + np.where(np.arange(len(bias)) == 17, 1e-3, 0.0)


FAULTS = (
    Fault("one channel's weights by a quarter", "conv2_block2_2_conv", _with_weights("kernel", _one_channel)),
    Fault("flipped kernel", "conv3_block1_2_conv", _with_weights("kernel", lambda k: k[::-1, ::-1])),
    Fault("transposed kernel", "conv2_block1_1_conv", _with_weights("kernel", lambda k: k.transpose(0, 1, 3, 2))),
    Fault("int8 kernel", "conv4_block3_2_conv", _with_weights("kernel", _int8)),
    Fault("dropped bias", "conv4_block1_1_conv", _with_weights("bias", np.zeros_like)),
    Fault("padding that is not zero", "conv2_block1_2_conv", _border),
    Fault("epsilon 1e-5", "conv3_block2_1_bn", _with_settings(epsilon=1e-5)),
    Fault("epsilon 1e-3", "conv3_block2_1_bn", _with_settings(epsilon=1e-3)),
    Fault("statistics swapped", "conv2_block1_1_bn", _swapped),
    Fault("missing ReLU", "conv3_block1_1_relu", lambda node, weights, x: x),
    Fault("missing shortcut", "conv3_block2_add", lambda node, weights, x, y: y),
    Fault("average pool", "pool1_pool", _average),
    Fault("pool padding of -inf", "pool1_pad", _minus_infinity),
    Fault("one NaN", "conv5_block1_1_bn", _one_nan),
    Fault("one logit", "predictions", _with_weights("bias", _one_logit)),
)
