"""Layers of a trace, each held against what refnet makes of the trace's own inputs: where and by what they depart.

Fed with the foreign program's own activations, a layer shows only what it does itself. So each fault stands alone, at
the layers that it changes, however many there are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arithmetic import Arithmetic
from ..forward.kernel_engine import KernelEngine
from ..forward.walk import evaluate
from ..graph import Node
from ..kernels.threads import usable_threads
from .change import Change, applied
from .oracle import engines
from .outputs import form_of, given
from .program import Program
from .rules import BatchStatistics
from .spread import ORDERS

Array = NDArray[np.floating]
TIMES_SIMULATED = 8  # of the RMS by which orders differ: the smallest effect that counts as more than rounding
ROUNDINGS = 4  # of any other layer, in half an ulp of its terms' magnitudes
U = 2.0**-24
NEAR = 4  # layers, one of which departs while the trace lacks the others: of more there are too many pairs
MOST_LEFT = 4  # a program that departs in more layers without a cause does something else everywhere


class Layers:
    """A trace of some layers, by Keras's names. Its last layer may be logits or softmax; names that the network does
    not have play no part."""

    def __init__(self, program: Program, trace: Mapping[str, Array], *, threads: int | None = None) -> None:
        self.program, self.threads = program, usable_threads(threads)
        names = program.graph.names
        self.known = {name: trace[name] for name in names if name in trace}
        output = program.graph.output.name
        self.form = form_of(np.asarray(self.known[output])) if output in self.known else 0
        self._thresholds: dict[
            str, float
        ] = {}  # of the unchanged layer where it can be read; a change moves them little
        self.departing = self.departures(program)

    def departures(self, program: Program, among: frozenset[str] | None = None) -> tuple[str, ...]:
        """Layers whose activations a program does not explain, in the order of its graph.

        among: look at these, and at what is computed from a layer among them that the trace lacks.
        """
        looked_at = None if among is None else self._looked_at(program, among)
        own = engines(program, self.threads, {})
        made: dict[str, Any] = {}
        found = []
        for node in program.graph.nodes:
            readable = all(name in self.known or name in made for name in node.inputs)
            if not readable or (looked_at is not None and node.name not in looked_at):
                continue
            inputs = [_float32(self.known.get(name, made.get(name))) for name in node.inputs]
            made[node.name] = self._evaluated(program, node, own[node.name], inputs)
            if node.name in self.known and not self._explained(program, node, inputs, made[node.name]):
                found.append(node.name)
        found += self._dropped(program, made, among)
        return tuple(name for name in self.program.graph.names if name in found)

    def _looked_at(self, program: Program, among: frozenset[str]) -> set[str]:
        """What has to be computed to look at these layers: where the trace lacks a layer, those that read it and, for
        what they read, those before it."""
        found = set(among)
        for node in program.graph.nodes:
            if any(name in found and name not in self.known for name in node.inputs):
                found.add(node.name)
        for node in reversed(program.graph.nodes):
            if node.name in found:
                found.update(self.lacking(node))
        return found

    def lacking(self, node: Node) -> set[str]:
        """What the layer reads and the trace lacks."""
        return {name for name in node.inputs if name not in self.known}

    def _dropped(self, program: Program, made: Mapping[str, Any], among: frozenset[str] | None) -> Iterator[str]:
        """Layers that a program leaves out, though the trace has them and they are more there than what they read."""
        for node in self.program.graph.nodes:
            if node.name in program.graph.names or node.name not in self.known:
                continue
            if among is not None and node.name not in among:
                continue
            entry, there = node.inputs[0], self.known[node.name]
            source = self.known.get(entry, made.get(entry))
            reshapes = node.shape != self.program.graph[entry].shape
            if reshapes or (source is not None and not _error(source, there) <= ROUNDINGS * U * _rms(there)):
                yield node.name

    def _evaluated(self, program: Program, node: Node, engine: KernelEngine, inputs: list[Any]) -> Any:
        """None where the inputs' shapes do not fit the layer."""
        if any(
            x is None or x.ndim != len(program.graph[name].shape) + 1
            for x, name in zip(inputs, node.inputs, strict=True)
        ):
            return None
        try:
            with np.errstate(all="ignore"):
                return evaluate(node, engine, program.tensors, *(inputs or [program.x]))
        except ValueError:  # sizes that do not go together, such as a sum of two pictures of unlike size
            return None

    def _explained(self, program: Program, node: Node, inputs: list[Any], value: Any) -> bool:
        there = np.asarray(self.known[node.name], np.float64)
        if value is not None and node is program.graph.output and self.form:
            value = np.exp(given(value, self.form))
            value, there = value / value.sum(1, keepdims=True), there
        if value is None or value.shape != there.shape:
            return False
        error = _error(value, there)
        return error <= _floor(program, node, inputs) or error <= self.threshold(program, node, inputs)

    def threshold(self, program: Program, node: Node, inputs: list[Any]) -> float:
        """RMS by which rounding explains this layer: of a sum from simulated orders, of others from their terms."""
        if node.name not in self._thresholds:
            self._thresholds[node.name] = self._simulated(program, node, inputs)
        return self._thresholds[node.name]

    def _simulated(self, program: Program, node: Node, inputs: list[Any]) -> float:
        floor = _floor(program, node, inputs)
        with np.errstate(all="ignore"):
            if node.operation not in ("conv2d", "dense", "mean_pool"):
                return floor
            values = [
                evaluate(
                    node, KernelEngine(Arithmetic(**way), node.name, threads=self.threads), program.tensors, *inputs
                )
                for way in ORDERS
            ]
            return max(floor, TIMES_SIMULATED * max(_rms(value - values[0]) for value in values[1:]))


def explain(layers: Layers, changes: Iterable[Change]) -> tuple[tuple[Change, ...], tuple[str, ...]]:
    """The changes that together explain the departing layers, and the layers that are left.

    Layer by layer in the order of the network: of the changes that explain the first one and disturb none, the one that
    explains the most. After MOST_LEFT layers that nothing explains the rest is left too.
    """
    chosen: list[Change] = []
    waiting, unexplained = layers.departing, list[str]()
    candidates = [change for change in changes if change.layers]
    while waiting and len(unexplained) < MOST_LEFT:
        found = _best(layers, chosen, ((change,) for change in candidates), waiting)
        found = found or _best(layers, chosen, _pairs_at(layers, candidates, waiting[0]), waiting)
        if found is None:
            unexplained.append(waiting[0])
            waiting = waiting[1:]
        else:
            more, waiting = found
            chosen += more
    return tuple(chosen), (*unexplained, *waiting)


def _best(
    layers: Layers, chosen: Sequence[Change], tried: Iterable[tuple[Change, ...]], waiting: tuple[str, ...]
) -> tuple[tuple[Change, ...], tuple[str, ...]] | None:
    """Of what is tried, that which leaves the fewest layers, and these."""
    left = ((more, _left_by(layers, chosen, more, waiting)) for more in tried)
    fitting = [(more, after) for more, after in left if after is not None]
    return min(fitting, key=lambda found: len(found[1]), default=None)


def _pairs_at(layers: Layers, changes: Iterable[Change], name: str) -> Iterator[tuple[Change, Change]]:
    """Two changes that only together explain a layer: both act there, or on what it reads and the trace lacks."""
    graph = layers.program.graph
    near = [name]
    for place in near:
        near += sorted(layers.lacking(graph[place]) - set(near))
    close = [change for change in changes if change.layers & set(near)] if len(near) <= NEAR else []
    return ((first, second) for first, second in combinations(close, 2) if not first.excludes(second))


def _left_by(
    layers: Layers, chosen: Sequence[Change], more: tuple[Change, ...], waiting: tuple[str, ...]
) -> tuple[str, ...] | None:
    """The layers that still depart; None where the newest changes do not explain the first or disturb another."""
    own = frozenset[str]().union(*(change.layers for change in more))
    missing = own - layers.known.keys()
    if not missing and waiting[0] not in own:
        return None
    program = applied(layers.program, *chosen, *more)
    if waiting[0] in layers.departures(program, missing | {waiting[0]}):
        return None
    departing = layers.departures(program, own | set(waiting))
    return departing if set(departing) < set(waiting) else None


def _floor(program: Program, node: Node, inputs: list[Any]) -> float:
    """A few roundings of terms of that magnitude."""
    with np.errstate(all="ignore"):
        return ROUNDINGS * U * _rms(_magnitude(program, node, inputs or [program.x]))


def _magnitude(program: Program, node: Node, inputs: list[Any]) -> Array:
    """The sum of the magnitudes of a layer's terms; of its input, for a layer that only chooses among values."""
    if node.operation == "batch_norm":
        return _magnitude_of_norm(program, node, inputs[0])
    return np.asarray(sum(np.abs(x) for x in inputs))


def _magnitude_of_norm(program: Program, node: Node, x: Array) -> Array:
    """|x s| + |mean s| + |beta|. A variance of the pictures given may come from E x^2 - (E x)^2, which cancels."""
    gamma, beta, mean, variance = (program.tensors[f"{node.name}/{key}"] for key in node.weights)
    epsilon: Any = node.settings["epsilon"]
    cancelled: Any = 0.0
    if program.rules.get(node.name) is BatchStatistics:
        mean, variance = x.mean((0, 1, 2), dtype=np.float64), x.var((0, 1, 2), dtype=np.float64)
        cancelled = np.abs(x - mean) * (np.square(mean) / (variance + epsilon))
    s = np.abs(gamma) / np.sqrt(np.abs(variance + epsilon))
    return np.asarray((np.abs(x) + np.abs(mean) + cancelled) * s + np.abs(beta))


def _float32(x: Any) -> Any:
    return None if x is None else np.asarray(x, np.float32)


def _rms(values: Any) -> float:
    return float(np.sqrt(np.mean(np.square(values, dtype=np.float64))))


def _error(here: Any, there: Any) -> float:
    """RMS of the difference; numbers that are equal, infinite ones too, do not differ."""
    with np.errstate(all="ignore"):
        return _rms(np.where(here == there, 0, there - here))
