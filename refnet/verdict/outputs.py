"""What a program's outputs are: logits or probabilities, and the format in which their numbers were kept."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..arithmetic.formats import FORMATS, Format, round_to

Array = NDArray[np.floating]

NEAR = 0.1
"""Rows of numbers >= 0 that add up to within this of 1 are probabilities, at worst scaled; logits are hardly ever all
positive, and then far larger."""
COMMON = 4
"""Roundings that all probabilities of a row may share: of the sum, its reciprocal, and of both again when stored."""


def kept_in(outputs: Array) -> Format:
    """The format that holds all these numbers: that of their type, or a narrower one if a wider array holds no more.

    bfloat16 before float16, whose numbers it has within float16's exponents.
    """
    if outputs.dtype == np.float16:
        return FORMATS["float16"]
    for name in ("bfloat16", "float16"):
        if np.array_equal(round_to(outputs, FORMATS[name]), outputs):
            return FORMATS[name]
    return FORMATS["float64" if outputs.dtype == np.float64 else "float32"]


def softmax_rows(outputs: Array) -> bool:
    """Whether all rows of (pictures, classes) are probabilities, up to a factor near 1: see `sum_excess`."""
    if outputs.shape[-1] < 2 or not np.isfinite(outputs).all() or outputs.min() < 0:
        return False
    return bool(np.abs(_sums(outputs) - 1).max() <= NEAR)


def sum_limit(outputs: Array) -> float:
    """How far from 1 rounding takes the row sums of probabilities.

    Of n classes whose exponentials are added in float32 or wider, in any order, the sum is off by up to n 2^-24 (Higham
    2002, 4.2); storing all of them in a format adds COMMON of its roundings, and half its smallest number for each
    class that is subnormal.
    """
    classes, format_ = outputs.shape[-1], kept_in(outputs)
    subnormal = 2.0 ** (format_.emin - format_.precision)
    return COMMON * format_.unit_roundoff + classes * (FORMATS["float32"].unit_roundoff + subnormal)


def sum_excess(outputs: Array) -> float:
    """How far the row sums of probabilities are from 1, over what rounding explains; above 1 they were scaled."""
    return float(np.abs(_sums(outputs) - 1).max() / sum_limit(outputs))


def _sums(outputs: Array) -> NDArray[np.float64]:
    return np.asarray(outputs.sum(axis=-1, dtype=np.float64))
