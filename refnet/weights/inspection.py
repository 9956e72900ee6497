"""What is in a set of weights, as rows of a table."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .weights import Weights


@dataclass(frozen=True)
class TensorSummary:
    """One tensor: its Keras name, shape and dtype, and its values in float64 (rms: root of the mean square)."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    minimum: float
    maximum: float
    rms: float


def inspect(weights: Weights) -> list[TensorSummary]:
    """A row for each tensor, in Keras's order."""
    return [_summary(name, array) for name, array in weights.items()]


def _summary(name: str, array: np.ndarray) -> TensorSummary:
    rms = float(np.sqrt(np.mean(np.square(array, dtype=np.float64))))
    return TensorSummary(name, array.shape, array.dtype.name, float(array.min()), float(array.max()), rms)
