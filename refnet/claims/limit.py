"""How far float32 rounding takes the logits: the band of refnet's own passes, end to end (docs/verdict.md)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

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
