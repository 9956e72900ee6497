"""Softmax."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..arithmetic import Arithmetic, numpy_ops, planewise, shape_of, stored
from .products import plain_sums

Total = Callable[[Any, Arithmetic], Any]


def softmax(x: Any, *, arithmetic: Arithmetic, total: Total | None = None) -> Any:
    """e / sum(e) with e = RN(exp(fl(x - max x))), summed in the order; (n, classes), over the last axis.

    total: what sums the rows, plain_sums unless something with its bits is given.
    """
    ops = numpy_ops(arithmetic.elementwise)
    x = ops.storage(x)
    e = ops.exp(ops.sub(x, _row_maximum(x)))
    row_sums = planewise(lambda plane: plane[:, None], (total or plain_sums)(e, arithmetic))
    return stored(
        ops.div(e, planewise(lambda plane: np.broadcast_to(plane, shape_of(e)), row_sums)), arithmetic.storage
    )


def _row_maximum(x: Any) -> Any:
    if not isinstance(x, tuple):
        return x.max(axis=-1, keepdims=True)
    place = np.lexsort((x[1], x[0]), axis=-1)[:, -1:]  # NaN sorts last: it wins
    return planewise(lambda plane: np.take_along_axis(plane, place, axis=-1), x)
