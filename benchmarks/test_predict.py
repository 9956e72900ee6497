"""ResNet50 on 224 x 224 pictures by arithmetic, and in float32 by batch size; each timed call gets new pictures."""

from __future__ import annotations

from itertools import count
from typing import Any

import numpy as np
import pytest

from refnet import Weights, bundled_image, load_image, load_weights, predict
from refnet.bench.pictures import fresh_pictures

ROUNDS = {"rounds": 5, "warmup_rounds": 2}


@pytest.fixture(scope="session")
def weights() -> Weights:
    return load_weights("synthetic")


@pytest.fixture(scope="session")
def base() -> np.ndarray:
    return load_image(bundled_image())


@pytest.mark.benchmark(group="predict, one picture")
def test_predict(benchmark: Any, keywords: dict[str, Any], weights: Weights, base: np.ndarray) -> None:
    seeds = count()
    benchmark.pedantic(predict, setup=lambda: ((fresh_pictures(base, 1, next(seeds)), weights), keywords), **ROUNDS)


@pytest.mark.benchmark(group="predict, float32 sequential")
@pytest.mark.parametrize("batch", [1, 2, 4, 8])
def test_batches(benchmark: Any, batch: int, weights: Weights, base: np.ndarray) -> None:
    seeds = count()
    benchmark.pedantic(predict, setup=lambda: ((fresh_pictures(base, batch, next(seeds)), weights), {}), **ROUNDS)
