"""A guess at what a foreign program computed: everything between the picture's file and its logits, as a value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from ..arithmetic import Arithmetic
from ..forward.kernel_engine import KernelEngine
from ..graph import Graph, Node
from .pictures import Reading, Source


@dataclass(frozen=True, eq=False)
class Program:
    """Each field is what one kind of change replaces; parts that are left alone stay the same objects.

    source, reading: where the pictures come from, and how they are read and preprocessed.
    graph: the layers.  tensors: Keras weight name -> array.  rules: layers that compute by another rule than refnet's,
    as engines.  arithmetic: of the whole pass.
    """

    source: Source
    graph: Graph
    tensors: Mapping[str, np.ndarray]
    reading: Reading = field(default_factory=Reading)
    rules: Mapping[str, type[KernelEngine]] = field(default_factory=dict)
    arithmetic: Arithmetic = field(default_factory=Arithmetic)

    @property
    def x(self) -> np.ndarray:
        """The pictures as the network takes them: (n, height, width, 3) float32."""
        return self.source.array(self.reading)

    def own(self, node: Node) -> tuple[object, ...]:
        """What a layer computes with, apart from its inputs: layers that agree in all of it compute alike."""
        arrays = tuple(id(self.tensors[f"{node.name}/{key}"]) for key in node.weights)
        return node.operation, dict(node.settings), arrays, self.rules.get(node.name), self.arithmetic
