"""What the benchmarks share. Run them with `pytest benchmarks/`; they are no part of the tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from refnet.bench import parse

ARITHMETICS = (
    *("float32 sequential", "float32 sequential/no-fma", "float32 reversed", "float32 permuted:0"),
    *("float32 blocks:512", "float32 lanes:16", "float32 pairwise:8", "float32 pairwise:1/no-fma"),
    *("float32 kahan", "float32 neumaier", "float32 dot2"),
    *("float16 sequential", "bfloat16 sequential", "tf32 sequential", "float64 sequential"),
    *("bfloat16/bfloat16 sequential", "double-double sequential"),
)
"""Every order in float32, and sequential in every format: names as `refnet bench` has them."""


@pytest.fixture(params=ARITHMETICS)
def keywords(request: pytest.FixtureRequest) -> dict[str, Any]:
    """The arithmetic as keywords of the public functions."""
    arithmetic = parse(request.param)
    return {name: getattr(arithmetic, name) for name in ("precision", "accumulate", "order", "fma")}


@pytest.fixture
def fresh() -> Callable[..., np.ndarray]:
    """fresh(*shape): float32 numbers that no call has seen before."""
    random = np.random.default_rng(0)
    return lambda *shape: random.standard_normal(shape, np.float32)
