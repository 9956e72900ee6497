"""The causes of a drift's mismatches: what each layer of a trace does otherwise, by the names of a diagnosis."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..weights import Weights
from .changes import changes_of
from .checked_trace import checked_trace
from .pictures import source_of
from .program import Program
from .traced import seen_in


def find_causes(
    trace: Mapping[str, NDArray[np.floating]], x: NDArray[np.floating], w: Weights, threads: int | None = None
) -> dict[str, str] | None:
    """Layer -> the name of the change that explains it (docs/diagnose.md), for each layer of the trace that one does.

    x: the pictures that were meant, (n, height, width, 3), preprocessed.  Where two changes explain a layer together
    it has both, `epsilon:1e-3, bias:dropped`. None where the trace cannot be searched: it has NaN, or other shapes.
    The outputs play no part: each layer is held against what refnet makes of the trace's own inputs.
    """
    program = Program(source_of(x, [], None), w.graph(x.shape[1:3]), {name: w[name] for name in w})
    try:
        seen = seen_in(checked_trace(trace, program), program, changes_of(program), threads)
    except InputError:
        return None
    found: dict[str, list[str]] = {}
    for change in seen.chosen:
        for layer in change.layers:
            found.setdefault(layer, []).append(change.name)
    for change in seen.pictures or ():
        found.setdefault(program.graph.nodes[0].name, []).append(change.name)
    for layer in seen.free:
        found.setdefault(layer, []).append(f"weights:other:{layer}")
    return {layer: ", ".join(names) for layer, names in found.items()}
