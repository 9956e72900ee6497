"""Most switches change few bits: layers that hold the same bits in several variants are measured and judged once."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ..graph import Graph, Node
from ..provenance import sha256_of_array
from .chains import fused_runs

Result = TypeVar("Result")
Digests = Mapping[str, str]
"""Layer -> SHA-256 of its activation, its dtype and shape among them."""


def digests_of(trace: Mapping[str, NDArray[np.floating]], threads: int) -> Digests:
    with ThreadPoolExecutor(threads) as pool:
        return dict(zip(trace, pool.map(sha256_of_array, trace.values()), strict=True))


def looked_at(node: Node, graph: Graph) -> tuple[str, ...]:
    """The layers of a trace that the verdict on this one looks at: itself, its inputs, and those of its fused runs."""
    runs = fused_runs(graph, node.name)
    return tuple(dict.fromkeys([node.name, *node.inputs, *(name for run in runs for name in run.inputs)]))


class Shared(dict[Hashable, Result]):
    """What was computed, by what it was computed from."""

    def of(self, key: Hashable, compute: Callable[[], Result]) -> Result:
        if key not in self:
            self[key] = compute()
        return self[key]
