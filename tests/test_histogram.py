"""Histograms of ULP errors count every error once, where its power of two says; and the best logits are found."""

from __future__ import annotations

import math
from collections import Counter
from fractions import Fraction

import numpy as np
from drift_samples import sample_drift, variant
from hypothesis import given
from hypothesis import strategies as st

from refnet.drift import OWN, Drift
from refnet.drift.comparison import Comparison
from refnet.drift.histogram import HIGHEST, LOWEST, ulp_histogram
from refnet.drift.logits import best_logits

TRUE = st.floats(min_value=1e-30, max_value=1e30)


def exponent_of(y: np.float32, t: float) -> int:
    """floor(log2) of the ULP error by exact fractions, for normal numbers."""
    ulp = Fraction(2) ** (math.floor(math.log2(t)) if t != 2.0 ** math.ceil(math.log2(t)) else math.ceil(math.log2(t)))
    error = abs(Fraction(float(y)) - Fraction(t)) / (ulp / 2**23)
    exponents = [e for e in range(LOWEST, HIGHEST + 1) if Fraction(2) ** e <= error]
    return exponents[-1] if exponents else LOWEST


@given(st.lists(st.tuples(TRUE, st.floats(-1e-3, 1e-3)), min_size=1, max_size=20))
def test_the_histogram_is_that_of_exact_fractions(pairs):
    t = np.array([true for true, _ in pairs])
    y = (t * (1 + np.array([error for _, error in pairs]))).astype(np.float32)
    assert ulp_histogram(Comparison(y, t)) == Counter(map(exponent_of, y, t.tolist()))


def test_what_is_not_finite_or_truly_zero_is_not_counted_and_infinity_is_the_highest():
    y = np.array([np.nan, np.inf, 1.0, 1.0, 3e38], np.float32)
    t = np.array([1.0, 1.0, 0.0, 1.0, 1e-300])
    assert ulp_histogram(Comparison(y, t)) == {LOWEST: 1, HIGHEST: 1}


def test_the_best_logits_come_largest_first_with_nan_last():
    logits = np.array([[1, 5, 3, 5, 0, 2], [np.nan, 1, np.nan, 4, np.nan, 2]], np.float32)
    first, second = best_logits(logits)
    assert first == ((1, 5.0), (3, 5.0), (2, 3.0), (5, 2.0), (0, 1.0))
    assert second[:3] == ((3, 4.0), (5, 2.0), (1, 1.0)) and math.isnan(second[3][1])


def test_both_survive_the_file(tmp_path):
    drift = sample_drift(variant("jax", 1e-6))
    drift.save(tmp_path / "drift.json")
    read = Drift.load(tmp_path / "drift.json")
    assert read[OWN].ulp_histograms == drift[OWN].ulp_histograms and drift[OWN].ulp_histograms
    assert read[OWN].best_logits == drift[OWN].best_logits and drift[OWN].best_logits
