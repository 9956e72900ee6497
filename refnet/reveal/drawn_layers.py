"""Drawn numbers for a whole layer: as they are in a network, and so that every sum cancels."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..arithmetic.formats import Array
from ..arithmetic.schedule import Indices
from ..graph import Node
from .drawn_sums import LARGE
from .sum_formats import SumFormats

Numbers = tuple[Array, list[Array]]
"""A layer's input, batch first, and its weights: float32, to be rounded by who computes with them."""


def drawn_numbers(node: Node, shape: tuple[int, ...], formats: SumFormats, seed: int) -> Iterator[Numbers]:
    """What a layer's outputs are held against refnet's with; shape: of its input, with the batch.

    Inputs as after a ReLU, half of them zero; weights of He's scale. Where the output has fewer bits than the sums, it
    shows little of the order: then come numbers whose real sums are zero too, so that all of the output is what the
    order rounds away.
    """
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(shape).astype(np.float32)
    weights = [
        (rng.standard_normal(size) * np.sqrt(2 / np.prod(size[:-1]))).astype(np.float32)
        for size in node.weights.values()
    ]
    yield np.maximum(x, 0), weights
    if formats.out.precision < formats.sum.precision:
        yield _of_pixels(x, seed) if node.operation == "mean_pool" else _of_channels(x, weights, seed)


def _of_channels(x: Array, weights: list[Array], seed: int) -> Numbers:
    """Input channels in pairs that are equal, with weights of opposite signs; one that is left over has weight zero."""
    left, right = _pairs(x.shape[-1], seed)
    size = np.float32(np.sqrt(LARGE))
    x, kernel, nothing = x.copy(), np.zeros_like(weights[0]), [np.zeros_like(bias) for bias in weights[1:]]
    x[..., left] *= size
    x[..., right] = x[..., left]
    kernel[..., left, :] = weights[0][..., left, :] * size
    kernel[..., right, :] = -kernel[..., left, :]
    return x, [kernel, *nothing]


def _of_pixels(x: Array, seed: int) -> Numbers:
    """Pixels in pairs of opposite signs; one that is left over is zero."""
    pixels = x.reshape(len(x), -1, x.shape[-1])
    left, right = _pairs(pixels.shape[1], seed)
    paired = np.zeros_like(pixels)
    paired[:, left] = pixels[:, left] * np.float32(LARGE)
    paired[:, right] = -paired[:, left]
    return paired.reshape(x.shape), []


def _pairs(count: int, seed: int) -> tuple[Indices, Indices]:
    order = np.random.default_rng(seed).permutation(count)
    return order[: count // 2], order[count // 2 : count // 2 * 2]
