"""The walk along the graph: each layer computed once, dropped when nothing needs it any more, seen by a probe."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from ..graph import Graph, Node
from .engine import Engine, FusingEngine
from .fusion import Step, steps_of

Probe = Callable[[Node, Any], None]


def walk(
    graph: Graph,
    weights: Mapping[str, Any],
    engines: Mapping[str, Engine],
    x: Any,
    *,
    joined: frozenset[str] = frozenset(),
    probe: Probe | None = None,
    progress: Callable[[Node], None] | None = None,
) -> Any:
    """The output of the last layer.

    engines: by layer name.  x: the picture, or where a graph has several inputs each of them by its name.
    joined: layers that are computed from the input of those before them (checks.joined_layers), whose own activation
    stays as it is.  probe: called with each layer's node and activation, in the graph's order; the operations never
    know. Without one, engines that can compute a convolution and what follows it in one step.
    """
    steps = steps_of(graph, joined, frozenset(graph.names) if probe else _apart(graph, engines))
    readers = Counter(name for step in steps for name in step.inputs)
    live: dict[str, Any] = {}
    for step in steps:
        node, engine = step.nodes[-1], engines[step.main.name]
        if probe or readers[node.name] or node is graph.output:  # else what is joined with it computes it again
            if progress:
                progress(node)
            given = x[node.name] if isinstance(x, Mapping) and not step.inputs else x
            inputs = [_entering(engine, engines[name], live[name]) for name in step.inputs] or [engine.storage(given)]
            live[node.name] = _computed(step, engines, weights, *inputs)
            if probe:
                probe(node, live[node.name])
        for name in step.inputs:
            readers[name] -= 1
            if not readers[name]:
                del live[name]
    return live[graph.output.name]


def _entering(engine: Engine, producer: Engine, activation: Any) -> Any:
    """An activation as an engine reads it: rounded to its storage, unless it was stored in that format already."""
    alike = engine is producer or (
        isinstance(engine, FusingEngine)
        and isinstance(producer, FusingEngine)
        and engine.arithmetic.storage == producer.arithmetic.storage
    )
    return activation if alike else engine.storage(activation)


def _apart(graph: Graph, engines: Mapping[str, Engine]) -> frozenset[str]:
    """Layers that cannot be computed with those that they read: their formats are others, or an engine computes none
    together. Orders and forms may be others: each layer of a step keeps its own.
    """
    formats = {name: _formats(engine) for name, engine in engines.items()}
    return frozenset(
        node.name
        for node in graph.nodes
        if formats[node.name] is None or any(formats[name] != formats[node.name] for name in node.inputs)
    )


def _formats(engine: Engine) -> tuple[Any, ...] | None:
    """The formats in which an engine computes; None for one that computes no layers together."""
    if isinstance(engine, FusingEngine) and engine.whole_runs:
        return engine.arithmetic.precision, engine.arithmetic.accumulate
    return None


def _computed(step: Step, engines: Mapping[str, Engine], weights: Mapping[str, Any], *inputs: Any) -> Any:
    """The activation of a step's last layer."""
    engine = engines[step.main.name]
    if len(step.nodes) > 1 and isinstance(engine, FusingEngine):
        own = {node.name: engines[node.name] for node in step.nodes}
        planned = {name: other.arithmetic for name, other in own.items() if isinstance(other, FusingEngine)}
        return engine.fused(step, planned, weights, *inputs)
    return evaluate(step.nodes[-1], engine, weights, *inputs)


def evaluate(node: Node, engine: Engine, weights: Mapping[str, Any], *inputs: Any) -> Any:
    """One layer by its engine: what each operation reads from the node, said once."""
    settings: Mapping[str, Any] = node.settings
    own = [weights[f"{node.name}/{key}"] for key in node.weights]
    x = inputs[0]
    match node.operation:
        case "input":
            return x
        case "pad":
            return engine.pad(x, settings["padding"])
        case "conv2d":
            kernel, bias = own[0], own[1] if len(own) > 1 else None
            return engine.conv2d(x, kernel, bias, strides=settings["strides"], padding=settings["padding"])
        case "batch_norm":
            return engine.batch_norm(x, *own, epsilon=settings["epsilon"])
        case "relu":
            return engine.relu(x)
        case "max_pool":
            return engine.max_pool(x, size=settings["size"], strides=settings["strides"])
        case "add":
            return engine.add(x, inputs[1])
        case "mean_pool":
            return engine.mean_pool(x)
        case "dense":
            return engine.dense(x, *own)
        case _:
            raise AssertionError(f"no evaluation for {node.operation}")
