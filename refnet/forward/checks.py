"""What a forward pass is checked for before it starts: pictures, settings, and whether they fit the graph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from math import prod
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
    """Every sum has as many terms as its order needs, every part has outputs, or InputError names the layer."""
    for node in graph.nodes:
        try:
            _check_parts(node, planned[node.name])
        except InputError as error:
            raise InputError(f"layer {node.name}: {error.found}", expected=error.expected) from error
        orders = [planned[node.name].summation, *(own.summation for _, own in planned[node.name].ways)]
        for what, terms in _sums_of(graph, node, softmax):
            try:
                for order in orders:
                    schedule_of(order, terms)
            except InputError as error:
                raise InputError(f"layer {node.name}{what}: {error.found}", expected=error.expected) from error


def _check_parts(node: Node, arithmetic: Arithmetic) -> None:
    if arithmetic.parts and "kernel" not in node.weights:
        raise InputError(f"parts of a {node.operation}", expected="those of a convolution or a dense layer")
    for part, _ in arithmetic.ways:
        part.rows(1, prod(node.shape[:-1]))
        part.columns(node.shape[-1])


def joined_layers(graph: Graph, planned: Mapping[str, Arithmetic]) -> frozenset[str]:
    """Layers that are computed from the input of those before them, or InputError where these compute otherwise.

    Batch normalisations that are joined with their convolution, and additions whose shifts come last.
    """
    names = []
    for node in graph.nodes:
        if node.operation == "batch_norm" and planned[node.name].norm.joined:
            _check_norm(node, planned)
            names.append(node.name)
        if node.operation == "add" and planned[node.name].addition == "shifts-last":
            _check_addition(graph, node, planned)
            names.append(node.name)
    return frozenset(names)


def _check_norm(node: Node, planned: Mapping[str, Arithmetic]) -> None:
    if planned[node.name] != planned[node.inputs[0]]:
        raise InputError(
            f"layer {node.name} is joined with {node.inputs[0]}, which computes otherwise",
            expected="the same arithmetic for both",
            do=f"give both the same values, with a pattern such as {node.name.removesuffix('bn')}*",
        )


def _check_addition(graph: Graph, node: Node, planned: Mapping[str, Arithmetic]) -> None:
    """What it adds are `shifted` batch normalisations of one arithmetic, whose formats are its own."""
    norms = [planned[name] for name in node.inputs if graph[name].operation == "batch_norm"]
    formats = {(each.precision, each.accumulate) for each in (*norms, planned[node.name])}
    forms = {(each.batch_norm, each.shift) for each in norms}
    if len(formats) > 1 or len(forms) != 1 or norms[0].batch_norm != "shifted":
        added = ", ".join(each.batch_norm for each in norms)
        raise InputError(
            f"layer {node.name} with addition='shifts-last' adds batch_norm={added}",
            expected="batch normalisations of the form shifted and of one arithmetic, in its own formats",
        )


def _sums_of(graph: Graph, node: Node, softmax: bool) -> list[tuple[str, int]]:
    if "kernel" in node.weights:
        sums = [("", int(np.prod(node.weights["kernel"][:-1])))]
        return [*sums, (" (its softmax)", node.shape[-1])] if softmax and node is graph.output else sums
    if node.operation == "mean_pool":
        height, width, _ = graph[node.inputs[0]].shape
        return [("", height * width)]
    return []
