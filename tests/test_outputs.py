"""Outputs of programs: probabilities are known in every format, sums that rounding does not explain are seen."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refnet.arithmetic.formats import FORMATS, round_to
from refnet.verdict.outputs import kept_in, softmax_rows, sum_excess

STORED = ("bfloat16", "float16", "float32", "float64")


def probabilities(seed: int, scale: float, classes: int = 1000) -> np.ndarray:
    e = np.exp(np.random.default_rng(seed).normal(size=(2, classes)) * scale)
    return e / e.sum(1, keepdims=True)


@pytest.mark.parametrize("name", STORED)
@given(seed=st.integers(0, 2**32 - 1), scale=st.floats(0.1, 8))
def test_probabilities_of_every_format_are_known_and_sum_to_one(name: str, seed: int, scale: float) -> None:
    """bfloat16 rows of 1000 classes miss 1 by more than 1e-3."""
    p = round_to(probabilities(seed, scale), FORMATS[name])
    assert softmax_rows(p) and sum_excess(p) <= 1
    assert kept_in(p).name == name


@pytest.mark.parametrize(("name", "factor"), [("float32", 1.0009), ("float64", 1.0002), ("float16", 1.02)])
def test_scaled_probabilities_are_probabilities_that_rounding_does_not_explain(name: str, factor: float) -> None:
    p = round_to(probabilities(1, 2) * factor, FORMATS[name])
    assert softmax_rows(p) and sum_excess(p) > 1


@given(seed=st.integers(0, 2**32 - 1))
def test_logits_are_no_probabilities(seed: int) -> None:
    logits = np.random.default_rng(seed).normal(size=(1, 1000))
    assert not softmax_rows(logits) and not softmax_rows(np.abs(logits))
    assert not softmax_rows(np.where(logits > 3, np.nan, logits))


def test_a_type_of_16_bits_is_kept_in_itself() -> None:
    """Though all its numbers may be numbers of bfloat16 too."""
    assert kept_in(np.ones((1, 4), np.float16)).name == "float16"
