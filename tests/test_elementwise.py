"""Batch normalisation, ReLU and addition alone have the bits of the definition, in every format and form."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from test_kernels import same_bits

from refnet import ops
from refnet.arithmetic import BATCH_NORM_FORMS, PRECISIONS, RELUS, Arithmetic, stored
from refnet.kernels import elementwise

SHAPES = ((2, 3, 5, 7), (1, 40, 41, 64), (1, 1, 1, 70_000))  # one share, several, and one row longer than a share
APPLIED = [form for form, own in BATCH_NORM_FORMS.items() if own.applied != "none"]
SPECIAL = (0.0, -0.0, np.inf, -np.inf, np.nan, 1e-45, -1e-45, 3e38, -3e38)


def drawn(shape: tuple[int, ...], arithmetic: Arithmetic, seed: int) -> Any:
    """Numbers of the storage format, zeros of both signs, infinities, NaN and the ends of float32 among them."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(shape) * 2.0 ** rng.integers(-8, 8, shape)
    places = rng.random(shape) < 0.05
    return stored(np.where(places, rng.choice(SPECIAL, shape), x), arithmetic.storage)


def vectors_of(arithmetic: Arithmetic, channels: int) -> tuple[Any, ...]:
    rng = np.random.default_rng(5)
    own = (stored(rng.uniform(0.5, 2, channels), arithmetic.parameters) for _ in range(4))
    return ops.norm_vectors(*own, epsilon=1e-3, arithmetic=arithmetic)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("form", APPLIED)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_batch_normalisation(precision: str, form: str, shape: tuple[int, ...]) -> None:
    if precision == "double-double" and form.endswith("fma"):
        pytest.skip("double-double has no fma")
    arithmetic = Arithmetic(precision, batch_norm=form)
    x, vectors = drawn(shape, arithmetic, 1), vectors_of(arithmetic, shape[-1])
    expected = ops.normalised(x, vectors, arithmetic=arithmetic)
    for threads in 1, 2:
        assert same_bits(elementwise.normalised(x, vectors, arithmetic=arithmetic, threads=threads), expected)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_addition_and_relu(precision: str, shape: tuple[int, ...]) -> None:
    for relu in RELUS:
        arithmetic = Arithmetic(precision, relu=relu)
        x, y = drawn(shape, arithmetic, 2), drawn(shape, arithmetic, 3)
        for threads in 1, 2:
            total = elementwise.add(x, y, arithmetic=arithmetic, threads=threads)
            assert same_bits(total, ops.add(x, y, arithmetic=arithmetic))
            rectified = elementwise.relu(x, arithmetic=arithmetic, threads=threads)
            assert same_bits(rectified, ops.relu(x, relu))


FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)


@given(arrays.arrays(np.float32, (3, 9), elements=FLOATS))
def test_a_fused_multiply_add_rounds_once(numbers: np.ndarray) -> None:
    """The definition emulates it from sums rounded to odd, the kernel takes the instruction."""
    arithmetic = Arithmetic(batch_norm="shifted-fma")
    x, s, t = numbers
    expected = ops.normalised(x[None], (s, t), arithmetic=arithmetic)
    assert same_bits(elementwise.normalised(x[None], (s, t), arithmetic=arithmetic, threads=1), expected)


def test_arrays_that_come_in_stay_as_they_are_and_may_lie_anyhow() -> None:
    arithmetic = Arithmetic()
    x = drawn((1, 6, 8, 10), arithmetic, 4)
    before, turned = x.copy(), x.transpose(0, 2, 1, 3)
    for result in (
        elementwise.relu(turned, arithmetic=arithmetic, threads=2),
        elementwise.add(turned, turned, arithmetic=arithmetic, threads=2),
    ):
        assert result.shape == turned.shape and not np.shares_memory(result, x)
    assert same_bits(elementwise.relu(turned, arithmetic=arithmetic, threads=1), ops.relu(turned))
    assert same_bits(x, before)
