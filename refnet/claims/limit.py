"""How far float32 rounding takes the logits: the band of refnet's own passes, end to end (docs/verdict.md)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..drift.comparison import norm, ratio
from ..verdict.bands import bands
from ..weights import Weights

Array = NDArray[np.floating]


@dataclass(frozen=True)
class Limit:
    """Relative L2 errors of logits. largest: of refnet's own passes.  rounding: what any other order stays below."""

    largest: float
    rounding: float


def limit_of_rounding(x: Array, w: Weights, truth: Array, *, threads: int | None = None) -> Limit:
    """For pictures x (n, height, width, 3), whose true logits are `truth` (n, classes)."""
    output = w.graph(x.shape[1:3]).output.name
    found = bands(x, w, {output: truth}, threads=threads)
    return Limit(found[output].high, found.factor * found[output].high)


def relative_error(values: Array, truth: Array) -> float:
    """||y - t|| / ||t||; infinite where y is not finite."""
    if not np.isfinite(values).all():
        return float("inf")
    y, t = np.asarray(values, np.float64), np.asarray(truth, np.float64)
    return ratio(norm(y - t), norm(t))
