"""The walk: each layer once, in the graph's order, and nothing is kept longer than something needs it."""

from __future__ import annotations

import weakref
from typing import Any

import pytest

from refnet.arithmetic import Arithmetic
from refnet.forward.engine import FusingEngine
from refnet.forward.fusion import steps_of
from refnet.forward.walk import walk
from refnet.graph import Node, resnet

GRAPH = resnet(50, input_shape=(32, 32))
WEIGHTS = dict.fromkeys(GRAPH.weights, 0)
MOST_ALIVE = 3  # what a layer reads or makes, and the shortcut beside it


class Activation:
    """Knows which ones are alive."""

    alive: weakref.WeakSet[Activation]

    def __init__(self) -> None:
        type(self).alive.add(self)


class CountingEngine:
    """Computes nothing; every operation makes a new activation and notes how many there are then."""

    def __init__(self) -> None:
        Activation.alive = weakref.WeakSet()
        self.most = 0
        self.operations: list[str] = []

    def storage(self, x: Any) -> Any:
        return x

    def _made(self, operation: str) -> Activation:
        self.operations.append(operation)
        made = Activation()
        self.most = max(self.most, len(Activation.alive))
        return made

    def pad(self, *_: Any) -> Any:
        return self._made("pad")

    def conv2d(self, *_: Any, **__: Any) -> Any:
        return self._made("conv2d")

    def batch_norm(self, *_: Any, **__: Any) -> Any:
        return self._made("batch_norm")

    def relu(self, *_: Any) -> Any:
        return self._made("relu")

    def max_pool(self, *_: Any, **__: Any) -> Any:
        return self._made("max_pool")

    def add(self, *_: Any) -> Any:
        return self._made("add")

    def mean_pool(self, *_: Any) -> Any:
        return self._made("mean_pool")

    def dense(self, *_: Any) -> Any:
        return self._made("dense")


class FusingCountingEngine(CountingEngine, FusingEngine):
    """The same for an engine that computes runs of layers in one step."""

    whole_runs = True
    arithmetic = Arithmetic()

    def fused(self, step: Any, *_: Any) -> Any:
        return self._made("+".join(node.operation for node in step.nodes))


@pytest.mark.parametrize("kind", [CountingEngine, FusingCountingEngine])
def test_activations_are_freed_when_nothing_reads_them_any_more(kind: type[CountingEngine]) -> None:
    engine = kind()
    last = walk(GRAPH, WEIGHTS, dict.fromkeys(GRAPH.names, engine), Activation())
    assert engine.most <= MOST_ALIVE + 1  # the walk's caller holds the picture
    assert list(Activation.alive) == [last]


def test_a_probe_that_keeps_nothing_holds_nothing() -> None:
    engine = CountingEngine()
    walk(GRAPH, WEIGHTS, dict.fromkeys(GRAPH.names, engine), Activation(), probe=lambda node, activation: None)
    assert engine.most <= MOST_ALIVE + 1


def test_a_probe_that_keeps_everything_is_seen_to() -> None:
    """The count can fail: it is as large as the network when somebody keeps what passes."""
    engine, kept = CountingEngine(), []
    walk(GRAPH, WEIGHTS, dict.fromkeys(GRAPH.names, engine), Activation(), probe=lambda node, x: kept.append(x))
    assert engine.most == len(GRAPH.nodes) == len(kept)


def test_an_engine_that_computes_runs_is_asked_for_runs() -> None:
    engine = FusingCountingEngine()
    walk(GRAPH, WEIGHTS, dict.fromkeys(GRAPH.names, engine), Activation())
    assert engine.operations.count("conv2d+batch_norm+add+relu") == 16 and "batch_norm" not in engine.operations


@pytest.mark.parametrize("kind", [CountingEngine, FusingCountingEngine])
def test_probe_and_progress_see_the_layers_in_the_order_of_the_graph(kind: type[CountingEngine]) -> None:
    engine, probed, begun = kind(), [], []
    walk(
        GRAPH,
        WEIGHTS,
        dict.fromkeys(GRAPH.names, engine),
        Activation(),
        probe=lambda node, _: probed.append(node.name),
        progress=lambda node: begun.append(node.name),
    )
    assert tuple(probed) == tuple(begun) == GRAPH.names
    assert engine.operations == [node.operation for node in GRAPH.nodes[1:]]  # the input is no operation


NONE: frozenset[str] = frozenset()
ADDITIONS = frozenset(node.name for node in GRAPH.nodes if node.operation == "add")
NORMS = frozenset(node.name for node in GRAPH.nodes if node.operation == "batch_norm")


@pytest.mark.parametrize("apart", [NONE, frozenset(GRAPH.names), ADDITIONS, frozenset({"conv3_block1_3_bn"})])
@pytest.mark.parametrize("joined", [NONE, ADDITIONS, NORMS])
def test_steps_hold_each_layer_and_read_what_was_computed_before(joined: frozenset[str], apart: frozenset[str]) -> None:
    steps = steps_of(GRAPH, joined, apart)
    assert {node.name for step in steps for node in step.nodes} == set(GRAPH.names)
    done: set[str] = set()
    for step in steps:
        assert set(step.inputs) <= done
        done.add(step.nodes[-1].name)
    ends = [step.nodes[-1].name for step in steps]
    assert (len(set(ends)) == len(ends) and len(steps) < len(GRAPH.nodes)) or apart == frozenset(GRAPH.names)


@pytest.mark.parametrize("joined", [NONE, ADDITIONS, NORMS])
def test_joined_layers_have_their_partners_in_their_step(joined: frozenset[str]) -> None:
    for apart in NONE, frozenset(GRAPH.names):
        for step in steps_of(GRAPH, joined, apart):
            for node in step.nodes:
                if node.name in joined:
                    partners = {"add": "batch_norm", "batch_norm": "conv2d"}[node.operation]
                    wanted = {name for name in node.inputs if GRAPH[name].operation == partners}
                    assert wanted <= {other.name for other in step.nodes}


def test_steps_join_only_what_may_be_joined() -> None:
    together = steps_of(GRAPH, NONE, NONE)
    convolutions = sum(node.operation == "conv2d" for node in GRAPH.nodes)
    assert len(together) < convolutions + 8
    assert len(steps_of(GRAPH, NONE, frozenset(GRAPH.names))) == len(GRAPH.nodes)
    for step in together:
        assert sum(node.operation == "conv2d" for node in step.nodes) <= 1


@pytest.mark.parametrize("joined", [ADDITIONS, NORMS])
@pytest.mark.parametrize("kind", [CountingEngine, FusingCountingEngine])
def test_what_joined_layers_compute_again_holds_nothing(kind: type[CountingEngine], joined: frozenset[str]) -> None:
    engine = kind()
    engine.fused = FusingCountingEngine.fused.__get__(engine)  # type: ignore[method-assign]
    walk(GRAPH, WEIGHTS, dict.fromkeys(GRAPH.names, engine), Activation(), joined=joined)
    assert engine.most <= MOST_ALIVE + 1


def test_what_a_probe_is_given_is_the_node_itself() -> None:
    engine, nodes = CountingEngine(), []
    walk(GRAPH, WEIGHTS, dict.fromkeys(GRAPH.names, engine), Activation(), probe=lambda node, _: nodes.append(node))
    assert all(isinstance(node, Node) for node in nodes) and tuple(nodes) == GRAPH.nodes
