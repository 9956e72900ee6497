"""Which layers are computed together: a convolution with the batch normalisation, addition and ReLU that follow it.

A tile's outputs are still in registers then. Each layer rounds as it would alone, so that no bit changes. Layers that
are joined with others compute from the input of these, and have them in their step in any case.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from ..graph import Graph, Node

FOLLOWS = {"pad": ("conv2d",), "conv2d": ("batch_norm",), "batch_norm": ("add", "relu"), "add": ("relu",)}


@dataclass(frozen=True)
class Step:
    """Layers computed at once: `inputs` are what they read from outside, the result is that of the last one."""

    nodes: tuple[Node, ...]
    inputs: tuple[str, ...]

    def all(self, operation: str) -> list[Node]:
        """Its layers of an operation; of batch normalisations the one behind the convolution comes first."""
        return [node for node in self.nodes if node.operation == operation]

    def node(self, operation: str) -> Node | None:
        return next(iter(self.all(operation)), None)

    @property
    def main(self) -> Node:
        """The layer whose engine computes the step: the convolution, where there is one."""
        return self.node("conv2d") or self.nodes[0]


@lru_cache(maxsize=64)
def steps_of(graph: Graph, joined: frozenset[str], apart: frozenset[str]) -> tuple[Step, ...]:
    """The steps of a walk: runs of layers around a convolution, each the only reader of the one before.

    joined: batch normalisations that are computed from their convolution's input, and additions that are from the input
    of the batch normalisations that they add.  apart: layers that go together with none before but those that they are
    joined with. An addition goes together only where what else it reads is there. What only joined layers would read
    has a step too, for those who look at every layer.
    """
    partners = {name: _joined_with(graph, graph[name]) for name in joined}
    done: set[str] = set()
    steps = []
    for node in graph.nodes:
        if node.name not in done:
            run = [*partners[node.name], node] if node.name in joined else _run(graph, node, partners, apart, done)
            done |= {link.name for link in run}
            steps.append(_step(run))
    return tuple(steps)


def _joined_with(graph: Graph, node: Node) -> list[Node]:
    before = [graph[name] for name in node.inputs]
    return [other for other in before if other.operation == ("batch_norm" if node.operation == "add" else "conv2d")]


def _run(
    graph: Graph, first: Node, partners: Mapping[str, list[Node]], apart: frozenset[str], done: set[str]
) -> list[Node]:
    """The layers that are computed with a convolution, from its padding on; `first` alone where there is none."""
    run = [first]
    while (follower := _follower(graph, run[-1])) and follower.name not in apart:
        longer = [*run, *(other for other in partners.get(follower.name, ()) if other not in run), follower]
        if not done.issuperset(_step(longer).inputs):
            break
        run = longer
    late = [other for node in graph.nodes if node.operation == "add" for other in partners.get(node.name, ())]
    if run[-1] in late:
        run.pop()  # its addition computes it
    return run if any(node.operation == "conv2d" for node in run) else [first]


def _step(run: list[Node]) -> Step:
    inner = {node.name for node in run}
    return Step(tuple(run), tuple(name for node in run for name in node.inputs if name not in inner))


def _follower(graph: Graph, node: Node) -> Node | None:
    """The layer that alone reads this one, if it may be computed together with it."""
    readers = [other for other in graph.nodes if node.name in other.inputs]
    alone = len(readers) == 1 and readers[0].operation in FOLLOWS.get(node.operation, ())
    return readers[0] if alone else None
