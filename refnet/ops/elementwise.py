"""ReLU and addition."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from ..arithmetic import RELUS, Arithmetic, numpy_ops, planewise, stored

COMPARISONS = {">": operator.gt, ">=": operator.ge}


def relu(x: Any, form: str = "positive") -> Any:
    """x where x > 0 or x is NaN, else +0; where the form is `signed-zero`, x >= 0 stays too, and so does -0."""
    leading = x[0] if isinstance(x, tuple) else x
    kept = COMPARISONS[RELUS[form]](leading, 0) | np.isnan(leading)
    return planewise(lambda plane: np.where(kept, plane, plane.dtype.type(0)), x)


def add(x: Any, y: Any, *, arithmetic: Arithmetic) -> Any:
    """fl(x + y) in the accumulate format, then storage."""
    ops = numpy_ops(arithmetic.elementwise)
    return stored(ops.add(ops.storage(x), ops.storage(y)), arithmetic.storage)
