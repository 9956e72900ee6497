"""Each layer's share of the drift of the logits: what its own rounding does to them, through all that comes after."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..arithmetic import Arithmetic
from ..forward.fusion import steps_of
from ..forward.kernel_engine import KernelEngine
from ..forward.walk import evaluate
from ..graph import Graph, Node
from .hypothesis import REFERENCES
from .transposes import Layer

Array = NDArray[np.floating]
Float64 = NDArray[np.float64]


@dataclass(frozen=True)
class Share:
    """added: the RMS of what the layer's rounding added, over that of its exact outputs.  share: of the drift."""

    added: float
    share: float


def shares(
    y: Mapping[str, Array],
    t: Mapping[str, Array],
    graph: Graph,
    weights: Mapping[str, Array],
    *,
    joined: frozenset[str] = frozenset(),
    threads: int = 1,
) -> dict[str, Share]:
    """Layer -> Share, in the order of the graph. Layers that only choose among numbers of their format have 0.

    y: every layer of a run; t: every layer of the truth, float64.  joined: layers of that run that were computed from
    the input of those before them (forward.checks.joined_layers), which then did not round.

    With e the exact result of a layer on its own inputs in y, its error y - e reaches the logits through linear maps
    (transposes), so that the drift d = y - t of the logits is the sum of what all the layers' errors become there. The
    share of a layer is (what its error becomes, d) / (d, d). The shares add up to 1; one is negative where its layer
    takes away what others added. All in float64: one pass back through the network.

    The shares of a run without drift, or with NaN or infinities, are NaN.
    """
    skipped = {node.name for step in steps_of(graph, joined, frozenset(graph.names)) for node in step.nodes[:-1]}
    run = _Run(y, graph, weights, frozenset(skipped), threads)
    output = graph.output.name
    drift = _difference(y[output], t[output])
    size = float(np.sum(drift * drift))
    with np.errstate(invalid="ignore", divide="ignore"):
        weight: dict[str, Float64] = {output: drift / size}
    found = {}
    for node in reversed(graph.nodes):
        g, inputs = weight.pop(node.name), run.inputs(node)
        exact = run.exact(node, inputs) if inputs else np.asarray(t[node.name], np.float64)
        error = np.zeros_like(exact) if node.name in skipped else _difference(y[node.name], exact)
        found[node.name] = Share(_rms(error) / (_rms(exact) or 1.0), float(np.sum(g * error)))
        if inputs:
            back = Layer(node, inputs[0], np.asarray(t[node.inputs[0]], np.float64), weights, threads).transposed(g)
        for name in node.inputs:
            weight[name] = weight[name] + back if name in weight else back
    return dict(reversed(found.items()))


@dataclass(frozen=True)
class _Run:
    """The run whose drift is shared out; what it skipped, its layers read exactly."""

    y: Mapping[str, Array]
    graph: Graph
    weights: Mapping[str, Array]
    skipped: frozenset[str]
    threads: int

    def inputs(self, node: Node) -> list[Float64]:
        return [self._value(name) for name in node.inputs]

    def exact(self, node: Node, inputs: list[Float64]) -> Float64:
        """The layer on these inputs, in float64."""
        engine = KernelEngine(EXACT, node.name, threads=self.threads)
        return np.asarray(evaluate(node, engine, self.weights, *inputs), np.float64)

    def _value(self, name: str) -> Float64:
        if name not in self.skipped:
            return np.asarray(self.y[name], np.float64)
        node = self.graph[name]
        return self.exact(node, self.inputs(node))


EXACT: Arithmetic = REFERENCES["float32"]


def _difference(y: Array, t: Array) -> Float64:
    return np.asarray(np.subtract(y, t, dtype=np.float64))


def _rms(x: Float64) -> float:
    return float(np.sqrt(np.mean(x * x)))
