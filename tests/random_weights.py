"""Random tensors for the tests of weights: every element drawn, so that no two layers can be taken for each other."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from refnet.graph import resnet
from refnet.weights import Weights


@cache
def random_tensors(
    depth: int = 50,
    *,
    classes: int = 7,
    include_top: bool = True,
    variant: str = "v1",
    dtype: str = "float16",
    seed: int = 0,
) -> dict[str, np.ndarray]:
    """Uniform in [0.5, 1): finite in every format and fine as variances. Read-only, so that it can be shared."""
    generator = np.random.default_rng(seed)
    shapes = resnet(depth, classes=classes, include_top=include_top, variant=variant).weights
    tensors = {}
    for name, shape in shapes.items():
        tensors[name] = (generator.random(shape, dtype=np.float32) / 2 + 0.5).astype(dtype)
        tensors[name].flags.writeable = False
    return tensors


@cache
def random_weights(**options: Any) -> Weights:
    return Weights(random_tensors(**options), variant=options.get("variant"))
