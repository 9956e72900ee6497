"""What a forward pass is checked for before it starts: pictures, settings, and whether they fit the graph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import numpy as np

from ..arithmetic import Arithmetic, digits_of
from ..arithmetic.orders import schedule_of
from ..errors import InputError
from ..graph import Graph, Node


def checked_pictures(x: np.ndarray) -> np.ndarray:
    x = np.array(x)  # a copy: a trace keeps the picture, and the caller may go on and change it
    if x.ndim != 4 or x.shape[-1] != 3 or not len(x):
        raise InputError(f"pictures of shape {x.shape}", expected="(n, height, width, 3)", do="see refnet.load_image")
    if x.dtype not in (np.float16, np.float32, np.float64):
        raise InputError(f"pictures of dtype {x.dtype}", expected="float32", do="see refnet.load_image")
    return x


def digits_asked_for(settings: Mapping[str, Any]) -> int | None:
    """N where the precision is mpN for the whole network; the other fields must then have their defaults."""
    precision = settings["precision"]
    values = list(precision.values()) if isinstance(precision, Mapping) else [precision]
    digits = [digits_of(str(value)) for value in values]
    if all(number is None for number in digits):
        return None
    if isinstance(precision, Mapping):
        raise InputError("mpN in a precision by layer", expected="precision='mpN' for the whole network")
    own = {field.name: field.default for field in fields(Arithmetic) if field.name != "precision"}
    changed = [f"{name}={settings[name]!r}" for name, value in own.items() if settings[name] != value]
    if changed:
        raise InputError(f"precision={precision!r} with {', '.join(changed)}", do="leave them out: mpN sums exactly")
    return digits[0]


def check_orders(graph: Graph, planned: Mapping[str, Arithmetic], softmax: bool) -> None:
    """Every sum of the network has as many terms as its order needs, or InputError names the layer."""
    for node in graph.nodes:
        for what, terms in _sums_of(graph, node, softmax):
            try:
                schedule_of(planned[node.name].summation, terms)
            except InputError as error:
                raise InputError(f"layer {node.name}{what}: {error.found}", expected=error.expected) from error


def joined_norms(graph: Graph, planned: Mapping[str, Arithmetic]) -> frozenset[str]:
    """Batch normalisations that are joined with their convolution, or InputError where the two compute otherwise."""
    names = []
    for node in graph.nodes:
        if node.operation == "batch_norm" and planned[node.name].norm.joined:
            if planned[node.name] != planned[node.inputs[0]]:
                raise InputError(
                    f"layer {node.name} is joined with {node.inputs[0]}, which computes otherwise",
                    expected="the same arithmetic for both",
                    do=f"give both the same values, with a pattern such as {node.name.removesuffix('bn')}*",
                )
            names.append(node.name)
    return frozenset(names)


def _sums_of(graph: Graph, node: Node, softmax: bool) -> list[tuple[str, int]]:
    if "kernel" in node.weights:
        sums = [("", int(np.prod(node.weights["kernel"][:-1])))]
        return [*sums, (" (its softmax)", node.shape[-1])] if softmax and node is graph.output else sums
    if node.operation == "mean_pool":
        height, width, _ = graph[node.inputs[0]].shape
        return [("", height * width)]
    return []
