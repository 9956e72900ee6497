"""Pictures that no call has seen before: nothing that a run keeps from earlier ones can help it."""

from __future__ import annotations

import numpy as np

NOISE = 8.0  # of 255; the scene stays what it is


def fresh_pictures(base: np.ndarray, batch: int, seed: int) -> np.ndarray:
    """(batch, height, width, 3) float32: `base` (1, height, width, 3) under noise, another one for each seed."""
    noise = np.random.default_rng(seed).uniform(-NOISE, NOISE, (batch, *base.shape[1:]))
    return np.asarray(base + noise, np.float32)
