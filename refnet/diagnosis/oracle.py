"""Programs run by refnet's kernels. What a change leaves alone is not computed again: the layers before it, and what
the other layers' weights become for the kernels."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from ..arithmetic import Arithmetic
from ..forward.kernel_engine import Kept, KernelEngine
from ..forward.walk import walk
from ..graph import Node
from ..kernels.threads import usable_threads
from .graph_edits import after, cuts
from .program import Program


class Oracle:
    """One program, whose activations are kept where the network narrows to one of them, and its relatives.

    threads: how many; the bits never depend on it.
    """

    def __init__(self, program: Program, *, threads: int | None = None) -> None:
        self.program, self.threads = program, usable_threads(threads)
        self._kept: dict[Arithmetic, dict[str, Any]] = {}
        self._narrow: dict[str, Any] = {}
        self.logits = self._first()

    def run(self, program: Program) -> np.ndarray:
        """The logits (n, classes) of another program, float32 unless it computes in float64.

        Quick where it shares its beginning with this one.
        """
        start = self._shared(program)
        if start is None:
            return self._walk(program, program.x)
        return self._walk(replace(program, graph=after(program.graph, start)), self._narrow[start])

    def _first(self) -> np.ndarray:
        """One pass layer by layer for the activations; one as all others run, which prepares the weights."""
        narrow = frozenset(cuts(self.program.graph)) - {self.program.graph.output.name}

        def keep(node: Node, activation: Any) -> None:
            if node.name in narrow:
                self._narrow[node.name] = activation

        if self.program.arithmetic == Arithmetic():
            graph, kept = self.program.graph, self._kept_for(self.program)
            walk(graph, self.program.tensors, engines(self.program, self.threads, kept), self.program.x, probe=keep)
        return self._walk(self.program, self.program.x)

    def _walk(self, program: Program, x: Any) -> np.ndarray:
        kept = self._kept_for(program)
        with np.errstate(all="ignore"):  # a change may well overflow; the residual is then infinite
            y = walk(program.graph, program.tensors, engines(program, self.threads, kept), x)
        if program.tensors is self.program.tensors:
            self._kept.setdefault(program.arithmetic, {}).update(_alike(kept, self._touched(program)))
        return np.asarray(y)

    def _kept_for(self, program: Program) -> Kept:
        """What this program's weights became, for the layers that compute alike."""
        return _alike(self._kept.get(program.arithmetic, {}), self._touched(program))

    def _touched(self, program: Program) -> set[str]:
        """Layers whose own numbers differ from this program's; the arithmetic has a store of its own."""
        program = replace(program, arithmetic=self.program.arithmetic)
        mine = {node.name: node for node in self.program.graph.nodes}
        return {
            node.name
            for node in program.graph.nodes
            if node.name in mine and node.weights and program.own(node) != self.program.own(mine[node.name])
        }

    def _shared(self, program: Program) -> str | None:
        """The last narrow place up to which the two programs compute the same."""
        mine = self.program
        if (program.reading, program.arithmetic, program.source) != (mine.reading, mine.arithmetic, mine.source):
            return None
        theirs = {node.name: node for node in program.graph.nodes}
        found = None
        for node in mine.graph.nodes:
            other = theirs.get(node.name)
            if other is None or other.inputs != node.inputs or program.own(other) != mine.own(node):
                break
            if node.name in self._narrow:
                found = node.name
        return found


def _alike(kept: Kept, touched: set[str]) -> dict[str, Any]:
    """What was prepared for layers that are not touched.

    Under a layer's name lies its own kernel; what has more in its name may be made of several layers' numbers.
    """
    return {name: value for name, value in kept.items() if name not in touched and not (touched and " " in name)}


def engines(program: Program, threads: int, kept: Kept) -> dict[str, KernelEngine]:
    """The engine of each layer: its rule's, where it has one."""
    names = program.graph.names
    return {
        name: program.rules.get(name, KernelEngine)(program.arithmetic, name, threads=threads, kept=kept)
        for name in names
    }
