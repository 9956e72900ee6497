"""Which layers are computed together: a convolution with the batch normalisation, addition and ReLU that follow it.

A tile's outputs are still in registers then. Each layer rounds as it would alone, so that no bit changes.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import lru_cache

from ..graph import Graph, Node

FOLLOWS = {"pad": ("conv2d",), "conv2d": ("batch_norm",), "batch_norm": ("add", "relu"), "add": ("relu",)}


@dataclass(frozen=True)
class Step:
    """Layers computed at once: `inputs` are what they read from outside, the result is that of the last one."""

    nodes: tuple[Node, ...]
    inputs: tuple[str, ...]

    def node(self, operation: str) -> Node | None:
        return next((node for node in self.nodes if node.operation == operation), None)

    @property
    def main(self) -> Node:
        """The layer whose engine computes the step: the convolution, where there is one."""
        return self.node("conv2d") or self.nodes[0]


@lru_cache(maxsize=64)
def single_steps(graph: Graph, joined: frozenset[str]) -> tuple[Step, ...]:
    """Each layer by itself; but layers that are joined are computed from the input of those that they are joined with:
    batch normalisations from their convolution's, additions from that of the batch normalisations that they add.
    """
    return tuple(_step([*_joined_with(graph, node), node] if node.name in joined else [node]) for node in graph.nodes)


def _joined_with(graph: Graph, node: Node) -> list[Node]:
    before = [graph[name] for name in node.inputs]
    return [other for other in before if other.operation == ("batch_norm" if node.operation == "add" else "conv2d")]


@lru_cache(maxsize=64)
def fused_steps(graph: Graph, apart: frozenset[str]) -> tuple[Step, ...]:
    """Runs of layers around a convolution, each the only reader of the one before, computed at the first one's place.

    apart: layers that must not join the one before. An addition joins only where its other input is there.
    """
    readers = Counter(name for node in graph.nodes for name in node.inputs)
    done: set[str] = set()
    steps = []
    for position, node in enumerate(graph.nodes):
        if node.name in done:
            continue
        run = [node]
        while follower := _follower(run[-1], graph.nodes[position:], readers):
            others = set(follower.inputs) - {run[-1].name}
            if not others <= done or follower.name in apart:
                break
            run.append(follower)
        if all(link.operation != "conv2d" for link in run):
            run = run[:1]
        done |= {link.name for link in run}
        steps.append(_step(run))
    return tuple(steps)


def _step(run: list[Node]) -> Step:
    inner = {node.name for node in run}
    return Step(tuple(run), tuple(name for node in run for name in node.inputs if name not in inner))


def _follower(node: Node, later: tuple[Node, ...], readers: Counter[str]) -> Node | None:
    """The layer that alone reads this one, if it may be computed together with it."""
    if readers[node.name] != 1:
        return None
    follower = next(other for other in later if node.name in other.inputs)
    return follower if follower.operation in FOLLOWS.get(node.operation, ()) else None
