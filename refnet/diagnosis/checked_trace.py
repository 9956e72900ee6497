"""A program's trace, refused in one line where it cannot be what it says."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..graph import Node
from .program import Program

Trace = Mapping[str, NDArray[np.floating]]


def checked_trace(trace: Trace, program: Program) -> Trace:
    """The trace. Raises InputError without any known layer, and for a layer of other pictures, rank or channels or with
    NaN. Heights and widths may differ: strides and padding are among what a program may do otherwise."""
    names = [name for name in program.graph.names if name in trace]
    if not set(names) - {program.graph.nodes[0].name}:
        raise InputError(
            f"a trace of {len(trace)} layers, none of them one of {program.graph.name}'s",
            expected="Keras's layer names, such as conv1_conv",
        )
    for name in names:
        _check_layer(program.graph[name], np.asarray(trace[name]), len(program.x))
    return trace


def _check_layer(node: Node, there: NDArray[np.floating], pictures: int) -> None:
    what = f"layer {node.name} of the trace is {there.dtype} {there.shape}"
    if there.dtype.kind != "f":
        raise InputError(what, expected="floating point")
    if there.shape[:1] != (pictures,):
        raise InputError(what, expected=f"{pictures} picture{'s' * (pictures != 1)}, batch axis first")
    if there.ndim != len(node.shape) + 1 or there.shape[-1] != node.shape[-1]:
        like = ", ".join(map(str, (pictures, *node.shape)))
        transposed = there.ndim == 4 == len(node.shape) + 1 and there.shape[1] == node.shape[-1]
        do = "channels are the last axis: numpy.moveaxis(array, 1, -1)" if transposed else ""
        raise InputError(what, expected=f"({like}) or another height and width", do=do)
    strange = int(np.count_nonzero(np.isnan(there)))
    if strange:
        raise InputError(
            f"layer {node.name} of the trace holds {strange} NaN of {there.size} numbers",
            expected="numbers",
            do="this is the first layer with NaN: a moving variance below -epsilon (mean and variance exchanged?) "
            "and overflow are the usual causes",
        )
