"""How far logits are from the truth, in any format that refnet gives them in."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..drift.comparison import norm, ratio


def relative_error(values: Any, truth: Any) -> float:
    """norm(values - truth) / norm(truth), in L2; a double-double array is a pair of its high and low parts.

    The parts are subtracted before they are added, so that the difference of two double-doubles is not rounded away.
    """
    (high, low), (true_high, true_low) = _planes(values), _planes(truth)
    return ratio(norm((high - true_high) + (low - true_low)), norm(true_high))


def _planes(array: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    high, low = array if isinstance(array, tuple) else (array, np.zeros_like(array))
    return np.asarray(high, np.float64), np.asarray(low, np.float64)
