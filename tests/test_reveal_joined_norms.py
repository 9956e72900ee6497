"""A batch normalisation that reads what its convolution never stored is told from one that reads what it stored."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from refnet import ops
from refnet.arithmetic import FORMATS, Arithmetic, stored
from refnet.backends import VARIANTS
from refnet.graph import resnet
from refnet.reveal.joined_norms import joined_reason

GRAPH = resnet(50, input_shape=(64, 64))
NARROW = FORMATS["bfloat16"]
CONV, NORM = "conv2_block1_1_conv", "conv2_block1_1_bn"
EXPLAINED = {"precision": "bfloat16", "differing": 0}
LAYERS: dict[str, dict[str, Any]] = {
    CONV: {**EXPLAINED, "accumulate": "float32", "order": "sequential", "fma": True, "bias": "stored"},
    NORM: {**EXPLAINED, "batch_norm": "centred", "shift": "rounded", "scale": "computed"},
}


class Pair:
    """In the place of a session: both layers at once. keeps: the roundings of the sum, and of the sum with its bias."""

    precision, variant = "bfloat16", VARIANTS["numpy"]

    def __init__(self, *keeps: bool) -> None:
        self.of_sum, self.of_bias = (NARROW if kept else FORMATS["float32"] for kept in keeps)

    def take_together(self, names: list[str], entries: list[str]) -> None:
        assert names == [CONV, NORM]

    def give(self, x: np.ndarray) -> None:
        self.x = stored(x, NARROW)

    def run(self, kernel: np.ndarray, bias: np.ndarray, *vectors: np.ndarray) -> np.ndarray:
        """The sums by the definition, the rest written out."""
        gamma, beta, mean, variance = vectors
        kernel, bias = stored(kernel, NARROW), stored(bias, NARROW)
        how = {"strides": (1, 1), "padding": ((0, 0), (0, 0)), "arithmetic": Arithmetic()}
        y = stored(ops.conv2d(self.x, kernel, None, **how), self.of_sum)
        y = stored(y + bias, self.of_bias)
        inverse = np.float32(1) / np.sqrt(variance + np.float32(1.001e-5))
        return np.asarray(stored((y - mean) * (gamma * inverse) + beta, NARROW))


@pytest.mark.parametrize(
    ("keeps", "said"),
    [
        ((True, True), ""),
        ((True, False), "it reads the stored sum and a bias, added but not rounded"),
        ((False, False), "it reads a sum and a bias that are not rounded at all"),
        ((False, True), "of 16384 outputs differ"),
    ],
)
def test_what_a_batch_normalisation_reads(keeps: tuple[bool, bool], said: str) -> None:
    session: Any = Pair(*keeps)
    reason = joined_reason(session, GRAPH, GRAPH[NORM], LAYERS)
    assert reason.endswith(said) and bool(reason) == bool(said)


def test_nothing_is_asked_of_layers_that_are_not_explained() -> None:
    """What they do alone is not known."""
    session: Any = None
    unexplained = {**LAYERS, CONV: {"reason": "no direct sum"}}
    assert joined_reason(session, GRAPH, GRAPH[NORM], unexplained) == ""
