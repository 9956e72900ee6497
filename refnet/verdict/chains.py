"""Layers evaluated from a backend's own activations: one by itself, or a run that may have been computed together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arithmetic import Arithmetic
from ..arithmetic.formats import FORMATS
from ..forward.constants import Constants
from ..forward.fusion import FOLLOWS, Step
from ..forward.kernel_engine import KernelEngine, fastest_engine
from ..forward.walk import evaluate
from ..graph import Graph, Node
from ..kernels.rounding import operands
from .hypothesis import OPERANDS

Array = NDArray[np.floating]
PRODUCTS = ("conv2d", "dense")


class RoundedKernels(Mapping[str, Array]):
    """Weights whose kernels are rounded to a format when they are asked for; everything else stays."""

    def __init__(self, weights: Mapping[str, Array], format_: str) -> None:
        self._weights, self._format = weights, FORMATS[format_]

    def __getitem__(self, name: str) -> Array:
        value = self._weights[name]
        return operands(np.asarray(value, np.float32), self._format) if name.endswith("/kernel") else value

    def __iter__(self) -> Iterator[str]:
        return iter(self._weights)

    def __len__(self) -> int:
        return len(self._weights)


def alone(node: Node) -> Step:
    return Step((node,), node.inputs)


@lru_cache(maxsize=1 << 12)
def fused_runs(graph: Graph, name: str) -> tuple[Step, ...]:
    """The runs of two layers and more that end at this one and may be computed in one go, the shortest first.

    A backend that hands out every layer may still compute one from the unrounded sums of the layers before it.
    """
    run, runs = [graph[name]], list[Step]()
    while before := _feeding(graph, run[0]):
        run = [before, *run]
        inner = {node.name for node in run}
        runs.append(Step(tuple(run), tuple(i for node in run for i in node.inputs if i not in inner)))
    return tuple(runs)


def _feeding(graph: Graph, node: Node) -> Node | None:
    """The layer before this one that it may be fused with: of an addition's two, the one that was computed last."""
    fusable = [graph[i] for i in node.inputs if node.operation in FOLLOWS.get(graph[i].operation, ())]
    candidates = [before for before in fusable if before.operation != "pad"]
    return max(candidates, key=lambda before: graph.names.index(before.name), default=None)


def run_chain(
    chain: Step,
    arithmetic: Arithmetic,
    weights: Mapping[str, Array],
    inputs: Mapping[str, Array],
    rounded: str | None,
    which: tuple[str, ...] = OPERANDS,
    constants: Mapping[str, Array] = MappingProxyType({}),
) -> Any:
    """The activation of the chain's last layer, from the activations `inputs` of a trace, each layer rounded.

    rounded: the format that what convolutions and dense multiply is rounded to; None leaves it.  which: of OPERANDS.
    constants: of a batch normalisation, if the chain is one alone.
    Batch normalisation in the form `folded` goes into the convolution before it, which must be in the chain.
    """
    weights = RoundedKernels(weights, rounded) if rounded and "kernel" in which else weights
    live: dict[str, Any] = {}
    for place, node in enumerate(chain.nodes):
        engine = fastest_engine(arithmetic, node.name, Constants({node.name: constants}))
        x = [live[name] if name in live else engine.storage(inputs[name]) for name in node.inputs]
        if rounded and "inputs" in which and node.operation in PRODUCTS:
            x = [operands(x[0], FORMATS[rounded])]
        if node.operation == "batch_norm" and arithmetic.batch_norm == "folded":
            before = chain.nodes[place - 1]
            fused = Step((before, node), before.inputs)
            at = [live[name] if name in live else engine.storage(inputs[name]) for name in before.inputs]
            planned = {before.name: arithmetic, node.name: arithmetic}
            live[node.name] = KernelEngine(arithmetic, before.name).fused(fused, planned, weights, *at)
        else:
            live[node.name] = evaluate(node, engine, weights, *x)
    return live[chain.nodes[-1].name]


def magnitude(chain: Step, weights: Mapping[str, Array], inputs: Mapping[str, Array]) -> Array:
    """What every rounding error of the chain is relative to: each operation on the magnitudes of what it reads.

    sum |a b| + |bias| of a direct sum; (|x| + |mean|) |s| + |beta| of batch normalisation; the sum of both of an
    addition. float32, added in sequence: its own relative error is below K 2^-24.
    """
    live: dict[str, Any] = {}
    for node in chain.nodes:
        x = [live[name] if name in live else np.abs(np.asarray(inputs[name], np.float32)) for name in node.inputs]
        live[node.name] = _MAGNITUDES.get(node.operation, _as_it_is)(node, weights, *x)
    result: Array = live[chain.nodes[-1].name]
    return result


_ENGINE = Arithmetic("float32")


def _as_it_is(node: Node, weights: Mapping[str, Array], *x: Array) -> Any:
    return evaluate(node, KernelEngine(_ENGINE, node.name), weights, *x)


def _of_products(node: Node, weights: Mapping[str, Array], *x: Array) -> Any:
    return _as_it_is(node, {f"{node.name}/{key}": np.abs(weights[f"{node.name}/{key}"]) for key in node.weights}, *x)


def _of_batch_norm(node: Node, weights: Mapping[str, Array], x: Array) -> Any:
    gamma, beta, mean, variance = (np.asarray(weights[f"{node.name}/{key}"], np.float32) for key in node.weights)
    epsilon: Any = node.settings["epsilon"]
    s = np.abs(gamma / np.sqrt(variance + np.float32(epsilon)))
    return (x + np.abs(mean)) * s + np.abs(beta)


_MAGNITUDES: Mapping[str, Callable[..., Any]] = {
    "conv2d": _of_products,
    "dense": _of_products,
    "batch_norm": _of_batch_norm,
}
