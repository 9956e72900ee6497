"""Graphs with one thing changed. Layers that stay as they are stay the same objects; shapes are worked out again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from ..graph import Graph, Node
from ..ops import Padding

Shape = tuple[int, ...]


def with_settings(graph: Graph, changed: Mapping[str, Mapping[str, object]]) -> Graph:
    """The graph with settings of some layers replaced: layer -> setting -> value."""
    nodes = [
        replace(node, settings={**node.settings, **changed[node.name]}) if node.name in changed else node
        for node in graph.nodes
    ]
    return _reshaped(graph, nodes)


def without(graph: Graph, names: Iterable[str]) -> Graph:
    """The graph without some layers of one input; whatever read them reads what they read."""
    gone = {name: graph[name].inputs[0] for name in names}

    def origin(name: str) -> str:
        return origin(gone[name]) if name in gone else name

    kept = (node for node in graph.nodes if node.name not in gone)
    nodes = [
        replace(node, inputs=tuple(map(origin, node.inputs))) if gone.keys() & set(node.inputs) else node
        for node in kept
    ]
    return _reshaped(graph, nodes)


def after(graph: Graph, name: str) -> Graph:
    """The layers behind `name`, which becomes their input. Only what `name` gives may be read by them."""
    place = graph.names.index(name)
    entry = Node(name, "input", (), graph.nodes[place].shape)
    return Graph(graph.name, graph.variant, (entry, *graph.nodes[place + 1 :]))


def cuts(graph: Graph) -> tuple[str, ...]:
    """Layers that everything behind them reads the network through."""
    reach, found = 0, []
    places = {name: place for place, name in enumerate(graph.names)}
    last_reader = [0] * len(graph.nodes)
    for place, node in enumerate(graph.nodes):
        for name in node.inputs:
            last_reader[places[name]] = place
    for place, node in enumerate(graph.nodes):
        if reach <= place:  # nothing before this layer is read behind it
            found.append(node.name)
        reach = max(reach, last_reader[place])
    return tuple(found)


def _reshaped(graph: Graph, nodes: Iterable[Node]) -> Graph:
    shapes: dict[str, Shape] = {}
    result = []
    for node in nodes:
        shape = _shape(node, [shapes[name] for name in node.inputs])
        shapes[node.name] = shape
        result.append(node if shape == node.shape else replace(node, shape=shape))
    return Graph(graph.name, graph.variant, tuple(result))


def _shape(node: Node, inputs: list[Shape]) -> Shape:
    settings: Any = node.settings
    match node.operation:
        case "pad":
            return _padded(inputs[0], settings["padding"])
        case "conv2d":
            kernel = node.weights["kernel"]
            outer = _padded(inputs[0], settings["padding"])
            return (*_windows(outer, kernel[:2], settings["strides"]), kernel[3])
        case "max_pool":
            return (*_windows(inputs[0], settings["size"], settings["strides"]), inputs[0][2])
        case "batch_norm" | "relu" | "add":
            return inputs[0]
        case _:
            return node.shape


def _padded(shape: Shape, padding: Padding) -> Shape:
    return shape[0] + sum(padding[0]), shape[1] + sum(padding[1]), shape[2]


def _windows(shape: Shape, size: Shape, strides: Shape) -> Shape:
    return tuple((length - window) // step + 1 for length, window, step in zip(shape, size, strides, strict=False))


def same_padding(shape: Shape, size: Shape, strides: Shape) -> Padding:
    """What TensorFlow's `same` adds on each side: ceil(length / stride) windows, the odd pixel at the end."""

    def sides(length: int, window: int, step: int) -> tuple[int, int]:
        total = max((-(-length // step) - 1) * step + window - length, 0)
        return total // 2, total - total // 2

    vertical, horizontal = (sides(*of_axis) for of_axis in zip(shape[:2], size[:2], strides, strict=True))
    return vertical, horizontal


def select(graph: Graph, wanted: Callable[[Node], bool]) -> tuple[str, ...]:
    """Names of the layers that are wanted."""
    return tuple(node.name for node in graph.nodes if wanted(node))
