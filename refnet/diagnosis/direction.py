"""Whether what is left goes the way a change takes the outputs: the evidence for formats, whose own rounding stays."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from ..verdict.limits import FALSE_ALARMS

Float64 = NDArray[np.float64]
QUARTILE = NormalDist().inv_cdf(0.75)  # the median magnitude of a normal number


def cosine(first: Float64, second: Float64) -> float:
    """Of the angle between two changes of the outputs; 0 where one of them is no change or not finite."""
    sizes = float(np.linalg.norm(first)) * float(np.linalg.norm(second))
    return float(np.vdot(first, second)) / sizes if np.isfinite(sizes) and sizes else 0.0


def least_cosine(directions: Sequence[Float64], others: Sequence[Float64]) -> float:
    """What changes that have nothing to do with these directions reach by chance with FALSE_ALARMS, in any of them.

    Such cosines are about normal around 0. Their deviation is taken from changes that were tried, by the median of all:
    a few of them, such as weights in that format, do have to do with it. 1 where there are none.
    """
    cosines = [abs(cosine(direction, other)) for direction in directions for other in others]
    deviation = float(np.median(cosines)) / QUARTILE if cosines else 1.0
    return min(1.0, NormalDist().inv_cdf(1 - FALSE_ALARMS / len(directions)) * deviation) if directions else 1.0
