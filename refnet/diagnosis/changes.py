"""The table of all changes for one program, cheapest first."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from .change import Change
from .graph_changes import arithmetic_changes, graph_changes
from .picture_changes import picture_changes
from .program import Program
from .weight_changes import other_weights, weight_changes


def changes_of(program: Program, other: Mapping[str, np.ndarray] | None = None) -> tuple[Change, ...]:
    """Every change that can be tried, those of many layers before those of one. other: another checkpoint's tensors."""
    found = [
        *picture_changes(program.source),
        *graph_changes(program),
        *weight_changes(program),
        *arithmetic_changes(),
        *(other_weights(program.graph, other) if other is not None else ()),
    ]
    return tuple(sorted(found, key=lambda change: change.single))
