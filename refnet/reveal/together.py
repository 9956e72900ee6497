"""Layers that a backend may compute together where only the last one's output is returned: the end of a block.

Keras's predict returns the last layer, and a compiler may then add in another order, or round less or more often, than
where each layer's output must exist. Each block's end is asked as one model: the convolutions that its addition brings
together, their batch normalisations, the addition, the ReLU, and the mean pool behind the last one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import numpy as np

from ..arithmetic import ADDITIONS
from ..arithmetic.formats import Array
from ..arithmetic.plan import plan
from ..forward.checks import joined_layers
from ..forward.constants import Constants
from ..forward.kernel_engine import Kept, fastest_engine
from ..forward.walk import walk
from ..graph import Graph, Node
from ..graph.node import OPERATIONS
from ..kernels.threads import usable_threads
from .norm_form import FORMS, read_scale
from .profile import FIELDS, settings_of
from .session import Session

Entries = Mapping[str, Mapping[str, Any]]
FACTOR = ("gamma", "moving_variance")  # the weights that make s
DAMPED = np.float32(0.25)  # so that a whole network of drawn weights stays in the range of float16
NORM_FORMS = dict.fromkeys((form, shift) for _, form, shift in FORMS)  # in their order, each once


def block_ends(graph: Graph) -> Iterator[Graph]:
    """The end of each block as a graph of its own, whose inputs are the layers outside that it reads."""
    for addition in graph.nodes:
        if addition.operation == "add":
            yield with_inputs(graph, [*_before(graph, addition), addition, *_behind(graph, addition)])


def _before(graph: Graph, addition: Node) -> list[Node]:
    """The batch normalisations that are added and their convolutions, in the order of the graph."""
    norms = [graph[name] for name in addition.inputs if graph[name].operation == "batch_norm"]
    names = {name for norm in norms for name in (norm.name, *norm.inputs)}
    return [node for node in graph.nodes if node.name in names]


def _behind(graph: Graph, addition: Node) -> list[Node]:
    """The ReLU, and the mean pool if it is what reads the ReLU."""
    found, last = [], addition
    for operation in ("relu", "mean_pool"):
        readers = [node for node in graph.nodes if last.name in node.inputs]
        if [node.operation for node in readers] != [operation]:
            break
        last = readers[0]
        found.append(last)
    return found


def with_inputs(graph: Graph, nodes: list[Node]) -> Graph:
    """Some layers as a graph of their own, whose inputs are the layers outside that they read."""
    inside = {node.name for node in nodes}
    outside = dict.fromkeys(name for node in nodes for name in node.inputs if name not in inside)
    entries = [Node(name, "input", (), graph[name].shape) for name in outside]
    return Graph(graph.name, graph.variant, (*entries, *nodes))


def probe_end(session: Session, end: Graph, layers: Entries, seed: int = 0) -> Entries:
    """By layer, the fields of Arithmetic that are others where a block's end is computed at once; none where none fit.

    layers: a profile's entries, in which every layer of the end is explained. A mean pool may have the order in its
    entry's `plain` too. Forms are tried on drawn numbers, the fewest changes first; those fit that give every bit.
    """
    nodes = [node for node in end.nodes if node.operation != "input"]
    drawn = draw(session, end, layers, seed)
    session.take_together([node.name for node in nodes], list(drawn.inputs))
    theirs = asked(session, drawn)
    for changed in _candidates(nodes, layers):
        if not differing(computed(end, merged(layers, changed), drawn), theirs):
            return others(changed, layers)
    return {}


@dataclass(frozen=True)
class Drawn:
    """What some layers are asked with. inputs: by layer.  weights: by Keras's name, layer by layer.

    constants: what the backend makes of these weights.  kept: what the kernels make of them.
    """

    inputs: Mapping[str, Array]
    weights: Mapping[str, Array]
    constants: Constants
    kept: Kept = field(default_factory=dict)


def draw(session: Session, graph: Graph, layers: Entries, seed: int = 0) -> Drawn:
    """Inputs as after a ReLU and weights of He's scale; batch normalisations of as many channels have the same factor.

    Asks the backend for factors of its own where the entries say that it has them.
    """
    rng = np.random.default_rng(seed)
    inputs, weights, scales = {}, {}, {}
    factors: dict[int, dict[str, Array]] = {}
    constants = {}
    for node in graph.nodes:
        if node.operation == "input":
            x = rng.standard_normal((session.variant.batch_size, *node.shape))
            inputs[node.name] = np.maximum(x, 0).astype(np.float32)
        own = {key: _drawn(rng, key, shape) for key, shape in node.weights.items()}
        if "gamma" in own and session.precision == "float16":
            own["gamma"] *= DAMPED
        if node.operation == "batch_norm":
            channels = node.shape[-1]
            factor = factors.setdefault(channels, {key: own[key] for key in FACTOR})
            own |= factor
            if layers[node.name].get("scale") == "given":
                if channels not in scales:
                    scales[channels] = read_scale(session, node, *factor.values())
                constants[node.name] = {"scale": scales[channels]}
        weights.update({f"{node.name}/{key}": numbers for key, numbers in own.items()})
    return Drawn(inputs, weights, Constants(constants))


def _drawn(rng: np.random.Generator, key: str, shape: tuple[int, ...]) -> Array:
    numbers = rng.uniform(0.01, 2, shape) if key == "moving_variance" else rng.standard_normal(shape)
    scale = np.sqrt(2 / np.prod(shape[:-1])) if key == "kernel" else 1
    return (scale * numbers).astype(np.float32)


def asked(session: Session, drawn: Drawn) -> Array:
    """The output of what the session has taken up."""
    session.give(*drawn.inputs.values())
    return session.run(*drawn.weights.values())


def computed(graph: Graph, layers: Entries, drawn: Drawn) -> Array:
    """The same by refnet, in the orders and forms of the entries."""
    planned = plan(graph.names, settings_of({name: layers[name] for name in graph.names if name in layers}))
    threads = usable_threads(None)
    engines = {
        name: fastest_engine(arithmetic, name, drawn.constants, threads, drawn.kept)
        for name, arithmetic in planned.items()
    }
    output: Array = walk(graph, drawn.weights, engines, drawn.inputs, joined=joined_layers(graph, planned))
    return output


def differing(ours: Array, theirs: Array) -> int:
    """How many numbers have other bits."""
    return int((ours.view(np.uint32) != theirs.view(np.uint32)).sum())


def merged(layers: Entries, changed: Entries) -> Entries:
    """The entries, with changed fields."""
    return {name: {**layers.get(name, {}), **changed.get(name, {})} for name in {**layers, **changed}}


def others(changed: Entries, layers: Entries) -> dict[str, dict[str, Any]]:
    """Of changed fields, those that are others than a layer has alone."""
    found = {
        name: {key: value for key, value in fields.items() if layers.get(name, {}).get(key) != value}
        for name, fields in changed.items()
    }
    return {name: fields for name, fields in found.items() if fields}


def _candidates(nodes: list[Node], layers: Entries) -> Iterator[Entries]:
    """By layer, the fields that may be others than alone; the fewest changes first."""
    named = {operation: [node.name for node in nodes if node.operation == operation] for operation in OPERATIONS}
    norms = [{name: {"batch_norm": form, "shift": shift} for name in named["batch_norm"]} for form, shift in NORM_FORMS]
    additions = [{name: {"addition": form} for name in named["add"]} for form in ADDITIONS[1:]]
    pools = [
        {name: {key: value for key, value in layers[name]["plain"].items() if key in FIELDS}}
        for name in named["mean_pool"]
        if "plain" in layers[name]
    ]
    changes = product([{}, *norms], [{}, *additions], [{}, *pools])
    for parts in sorted(changes, key=lambda parts: sum(map(bool, parts))):
        changed = {name: fields for part in parts for name, fields in part.items()}
        forms = {merged(layers, changed)[name]["batch_norm"] for name in named["batch_norm"]}
        if not parts[1] or forms == {"shifted"}:  # other forms have no shift that could come last
            yield changed
