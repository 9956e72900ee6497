"""The walk along the graph: each layer computed once, dropped when nothing needs it any more, seen by a probe."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from operator import attrgetter
from typing import Any

from ..graph import Graph, Node
from .engine import Engine, FusingEngine
from .fusion import fused_steps, single_steps

ELEMENTWISE = attrgetter("precision", "accumulate", "batch_norm", "shift", "relu")  # what joined layers must share
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
    whole_runs = probe is None and all(isinstance(e, FusingEngine) and e.whole_runs for e in engines.values())
    whole_runs = whole_runs and not any(graph[name].operation == "add" for name in joined)
    steps = fused_steps(graph, _apart(graph, engines)) if whole_runs else single_steps(graph, joined)
    readers = Counter(name for step in steps for name in step.inputs)
    live: dict[str, Any] = {}
    for step in steps:
        node, engine = step.nodes[-1], engines[step.main.name]
        if not probe and not readers[node.name] and node is not graph.output:
            continue  # what is joined with it computes it again
        if progress:
            progress(node)
        given = x[node.name] if isinstance(x, Mapping) and not step.inputs else x
        inputs = [_entering(engine, engines[name], live[name]) for name in step.inputs] or [engine.storage(given)]
        if len(step.nodes) > 1 and isinstance(engine, FusingEngine):
            live[node.name] = engine.fused(step, weights, *inputs)
        else:
            live[node.name] = evaluate(node, engine, weights, *inputs)
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


def _apart(graph: Graph, engines: Mapping[str, Any]) -> frozenset[str]:
    """Layers that compute in another arithmetic than what they read, apart from how a convolution orders its sums."""
    kinds = {name: ELEMENTWISE(engine.arithmetic) for name, engine in engines.items()}
    return frozenset(node.name for node in graph.nodes for name in node.inputs if kinds[node.name] != kinds[name])


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
