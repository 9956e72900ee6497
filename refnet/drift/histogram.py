"""The ULP errors of a layer as a histogram: how many lie between two powers of two."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .comparison import Comparison

LOWEST, HIGHEST = -4, 64
"""The lowest and the highest exponent e; they also count what is smaller (zero too) and larger (infinity too)."""

Histogram = Mapping[int, int]
"""Exponent e -> how many ULP errors lie in [2^e, 2^(e + 1)); exponents without any are left out."""

BIAS, FRACTION_BITS = 1023, 52  # of float64


def ulp_histogram(comparison: Comparison) -> Histogram:
    """The histogram of `comparison.ulps`, so of all finite places where the truth is not zero."""
    exponents = (comparison.ulps.view(np.int64) >> FRACTION_BITS) - BIAS  # exact: ULP errors are >= 0, and none is NaN
    counts = np.bincount(np.clip(exponents, LOWEST, HIGHEST) - LOWEST)
    return {place + LOWEST: int(count) for place, count in enumerate(counts) if count}


def read_histogram(document: Mapping[str, Any]) -> Histogram:
    """What JSON made of a histogram. Raises ValueError for anything else."""
    return {int(exponent): int(count) for exponent, count in document.items()}
