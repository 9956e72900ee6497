"""Weights for backend tests: random but tame, so that the network neither dies nor explodes."""

from __future__ import annotations

import numpy as np

from refnet.graph import resnet
from refnet.weights import Weights

CLASSES = 10
SIZE = 32


def random_weights(variant: str = "v1", *, seed: int = 0) -> Weights:
    """ResNet50 with CLASSES classes; normal kernels at He's scale, statistics near those of a trained network."""
    draw = np.random.default_rng(seed)
    tensors = {}
    for name, shape in resnet(50, input_shape=(SIZE, SIZE), classes=CLASSES, variant=variant).weights.items():
        match name.rpartition("/")[-1]:
            case "kernel":
                tensor = draw.standard_normal(shape) * np.sqrt(2 / np.prod(shape[:-1]))
            case "gamma":
                tensor = draw.uniform(0.3, 0.7, shape)
            case "moving_variance":
                tensor = draw.uniform(0.5, 1.5, shape)
            case _:
                tensor = draw.standard_normal(shape) * 0.1
        tensors[name] = tensor.astype(np.float32)
    return Weights(tensors, variant=variant, source="random")


def random_images(count: int) -> np.ndarray:
    """(count, SIZE, SIZE, 3) float32 in the range of preprocessed pictures."""
    return np.random.default_rng(1).uniform(-120, 150, (count, SIZE, SIZE, 3)).astype(np.float32)
