"""Changes of layers: epsilon, batch normalisation, strides, padding, pools, activations; and of the arithmetic."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np

from ..arithmetic import Arithmetic
from ..forward.kernel_engine import KernelEngine
from ..graph import Graph, Node
from ..kernels.convolution import NO_PADDING
from .change import Change
from .graph_edits import same_padding, select, with_settings, without
from .program import Program
from .rules import AveragePool, BatchStatistics, InfinitePad

EPSILONS = {"1e-3": 1e-3, "1e-5": 1e-5, "1.001e-5": 1.001e-5, "1e-6": 1e-6, "0": 0.0}
REDUCED = {
    "bfloat16": "the network was computed in bfloat16: operands and layers, sums in float32",
    "float16": "the network was computed in float16: operands and layers, sums in float32",
    "tf32": "operands of convolutions and of the dense layer were rounded to tf32",
}
NORMS = {"centred": "", "folded": "; batch normalisation was folded into the kernels before"}
TRAINING = "batch_norm:training"  # statistics that are not known before cannot be folded
AFTER_RELU = "the values before the pool come from a ReLU and are not negative, so that zeros never win"


def graph_changes(program: Program) -> Iterator[Change]:
    yield from _of_batch_norm(program)
    yield from _of_strides(program.graph)
    yield from _of_padding(program.graph)
    yield from _of_activations(program.graph)


def arithmetic_changes() -> Iterator[Change]:
    for (name, detail), (norm, more) in product(REDUCED.items(), NORMS.items()):
        full = f"precision:{name}" + f":{norm}" * bool(more)
        without = frozenset([f"input:{name}", f"weights:{name}", *([TRAINING] if norm == "folded" else ())])
        yield _computed_in(full, detail + more, Arithmetic(name, batch_norm=norm), without)


def _of_batch_norm(program: Program) -> Iterator[Change]:
    graph = program.graph
    norms = select(graph, lambda node: node.operation == "batch_norm")
    own: Any = graph[norms[0]].settings["epsilon"]
    for name, epsilon in EPSILONS.items():
        if epsilon != own:
            changed = {norm: {"epsilon": epsilon} for norm in norms}
            detail = f"batch normalisation adds {name} to the variance, not {own:g}"
            yield _settings(f"epsilon:{name}", detail, changed)
    outside = "batch normalisation adds epsilon outside the square root"
    yield Change("epsilon:outside-root", outside, "graph", _outside_root(norms), frozenset(norms))
    training = "batch normalisation takes mean and variance of the pictures given, as in training"
    yield _rule(TRAINING, training, norms, BatchStatistics)


def _outside_root(norms: tuple[str, ...]) -> Callable[[Program], Program]:
    """sqrt(v) + e is the root of (sqrt(v) + e)^2 + 0."""

    def apply(program: Program) -> Program:
        changed = {}
        for name in norms:
            epsilon: Any = program.graph[name].settings["epsilon"]
            variance = program.tensors[f"{name}/moving_variance"]
            with np.errstate(invalid="ignore"):  # a variance that another change made negative has no root
                root = np.sqrt(variance, dtype=np.float64)
            changed[f"{name}/moving_variance"] = np.square(root + epsilon).astype(variance.dtype)
        graph = with_settings(program.graph, {norm: {"epsilon": 0.0} for norm in norms})
        return replace(program, graph=graph, tensors={**program.tensors, **changed})

    return apply


def _of_strides(graph: Graph) -> Iterator[Change]:
    """The stride of a block's 1x1 (v1) or of its 3x3 (v1.5)."""
    first, second = ((1, 1), (3, 3)) if graph.variant == "v1" else ((3, 3), (1, 1))
    places = {"v1": ("_1_conv", "_2_conv"), "v1.5": ("_2_conv", "_1_conv")}
    here, there = places[graph.variant]
    strided = select(graph, lambda node: node.name.endswith(here) and node.settings["strides"] != (1, 1))
    changed: dict[str, dict[str, object]] = {}
    for name in strided:
        changed[name] = {"strides": (1, 1)}
        changed[name.removesuffix(here) + there] = {"strides": graph[name].settings["strides"]}
    other = "v1.5" if graph.variant == "v1" else "v1"
    sizes = f"{second[0]}x{second[1]}, not in its {first[0]}x{first[1]}"
    yield _settings(f"stride:{other}", f"the stride of a block sits in its {sizes}", changed)


def _of_padding(graph: Graph) -> Iterator[Change]:
    pads = {}
    for pad in select(graph, lambda node: node.operation == "pad"):
        (reader,) = (node for node in graph.nodes if pad in node.inputs)
        pads[pad] = _same(graph[graph[pad].inputs[0]], reader)
    own = {
        node.name: _same(graph[node.inputs[0]], node)
        for node in graph.nodes
        if node.operation == "conv2d" and node.settings["strides"] != (1, 1) and node.settings["padding"] != NO_PADDING
    }
    pools = tuple(name for name in pads if _reader(graph, name).operation == "max_pool")
    yield _same_change("padding:same", "strided layers pad as `same` does, more at the end", {**pads, **own}, pools)
    for name, settings in {**pads, **own}.items():
        window = _reader(graph, name) if name in pads else graph[name]
        detail = f"{window.name} pads as `same` does, more at the end"
        yield _same_change(f"padding:same:{window.name}", detail, {name: settings}, tuple({name} & set(pools)))
    for name in pools:
        yield Change(
            "pool_padding:none", "the first pool has no padding", "graph", _removed((name,)), frozenset([name])
        )
        yield _rule("pool_padding:-inf", "the first pool pads with -inf, not 0", (name,), InfinitePad, AFTER_RELU)
        pool = _reader(graph, name).name
        yield _rule("pool:average", "the first pool takes the mean of each window", (pool,), AveragePool)


def _of_activations(graph: Graph) -> Iterator[Change]:
    for name in select(graph, lambda node: node.operation == "relu"):
        detail = f"the activation {name} is missing"
        yield Change(f"relu:missing:{name}", detail, "graph", _removed((name,)), frozenset([name]), single=True)


def _reader(graph: Graph, name: str) -> Node:
    return next(node for node in graph.nodes if name in node.inputs)


def _same(entering: Node, window: Node) -> dict[str, object]:
    settings: Any = window.settings
    size = window.weights["kernel"][:2] if window.weights else settings["size"]
    return {"padding": same_padding(entering.shape, size, settings["strides"])}


def _same_change(name: str, detail: str, changed: Mapping[str, Mapping[str, object]], pools: tuple[str, ...]) -> Change:
    """A pool's `same` padding never wins, so it is -inf."""

    def apply(program: Program) -> Program:
        rules = {**program.rules, **dict.fromkeys(pools, InfinitePad)}
        return replace(program, graph=with_settings(program.graph, changed), rules=rules)

    return Change(name, detail, "graph", apply, frozenset(changed))


def _computed_in(name: str, detail: str, arithmetic: Arithmetic, without: frozenset[str]) -> Change:
    def apply(program: Program) -> Program:
        return replace(program, arithmetic=arithmetic)

    return Change(name, detail, "arithmetic", apply, without=without)


def _settings(name: str, detail: str, changed: Mapping[str, Mapping[str, object]]) -> Change:
    def apply(program: Program) -> Program:
        return replace(program, graph=with_settings(program.graph, changed))

    return Change(name, detail, "graph", apply, frozenset(changed))


def _rule(name: str, detail: str, layers: tuple[str, ...], rule: type[KernelEngine], unseen: str = "") -> Change:
    def apply(program: Program) -> Program:
        return replace(program, rules={**program.rules, **dict.fromkeys(layers, rule)})

    return Change(name, detail, "graph", apply, frozenset(layers), unseen=unseen)


def _removed(names: tuple[str, ...]) -> Callable[[Program], Program]:
    return lambda program: replace(program, graph=without(program.graph, names))
