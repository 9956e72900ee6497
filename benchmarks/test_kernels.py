"""The public products by arithmetic; each timed call gets numbers that it has not seen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from refnet.kernels import conv2d, dot, matmul

Fresh = Callable[..., np.ndarray]
ROUNDS = {"rounds": 7, "warmup_rounds": 2}


@pytest.mark.benchmark(group="dot, K = 4608")
def test_dot(benchmark: Any, keywords: dict[str, Any], fresh: Fresh) -> None:
    benchmark.pedantic(dot, setup=lambda: ((fresh(4608), fresh(4608)), keywords), **ROUNDS)


@pytest.mark.benchmark(group="matmul, (3136, 576) @ (576, 256)")
def test_matmul(benchmark: Any, keywords: dict[str, Any], fresh: Fresh) -> None:
    benchmark.pedantic(matmul, setup=lambda: ((fresh(3136, 576), fresh(576, 256)), keywords), **ROUNDS)


@pytest.mark.benchmark(group="conv2d, 28x28 3x3 128->128")
def test_conv2d(benchmark: Any, keywords: dict[str, Any], fresh: Fresh) -> None:
    padded = {**keywords, "padding": ((1, 1), (1, 1))}
    benchmark.pedantic(conv2d, setup=lambda: ((fresh(1, 28, 28, 128), fresh(3, 3, 128, 128)), padded), **ROUNDS)
