"""Single outputs of single layers by FLINT: the exact range of each, when its inputs move within their balls.

A range is given by its ends, and both must lie in the ball that refnet has certified. No code is shared but the graph.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from flint import arb
from flint_network import ZERO, balls

from refnet.certificate.ball_engine import Balls
from refnet.certificate.radii import Radii
from refnet.graph import Node

Ends = tuple[Any, Any]
Place = tuple[int, ...]


def exactly(x: Balls) -> Ends:
    """Midpoints and radii as FLINT's numbers without radius."""
    scale = arb((1, x.radii.exponent))
    parts = (number._mpf_ for number in x.midpoints.to_mpf().ravel())
    middles, radii = np.empty(x.midpoints.size, object), np.empty(x.midpoints.size, object)
    middles[:] = [arb((-int(m) if sign else int(m), int(e))) for sign, m, e, _ in parts]
    radii[:] = [arb(radius) * scale for radius in x.radii.values.ravel().tolist()]
    return middles.reshape(x.shape), radii.reshape(x.shape)


def at(x: Balls, place: tuple[slice, ...]) -> Ends:
    """Some numbers of the first picture."""
    part = (0, *place)
    return exactly(Balls(x.midpoints[part], Radii(x.radii.values[part], x.radii.exponent)))


def single(x: Balls, place: Place) -> Ends:
    middles, radii = at(x, tuple(slice(p, p + 1) for p in place))
    return middles.ravel()[0], radii.ravel()[0]


def ends(node: Node, place: Place, inputs: list[Balls], own: list[Any]) -> Ends:
    """The least and the greatest value at one place of a layer, its inputs being anywhere in their balls."""
    return RANGES[node.operation](node, place, *inputs, *own)


def around(middle: Any, radius: Any) -> Ends:
    return middle - radius, middle + radius


def window(node: Node, place: Place, shape: Place, size: Place) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Rows and columns that an output reads within the image, and where these are in the kernel."""
    image, kernel = [], []
    padding: Any = node.settings.get("padding", ((0, 0), (0, 0)))
    strides: Any = node.settings["strides"]
    for axis in range(2):
        start = place[axis] * strides[axis] - padding[axis][0]
        first, end = max(0, start), min(shape[axis], start + size[axis])
        image.append(slice(first, end))
        kernel.append(slice(first - start, end - start))
    return tuple(image), tuple(kernel)


def _pad(node: Node, place: Place, x: Balls) -> Ends:
    padding: Any = node.settings["padding"]
    inner = (place[0] - padding[0][0], place[1] - padding[1][0], place[2])
    is_inside = all(0 <= p < size for p, size in zip(inner, x.shape[1:], strict=True))
    return around(*single(x, inner)) if is_inside else (ZERO, ZERO)


def _conv2d(node: Node, place: Place, x: Balls, kernel: Any, bias: Any = None) -> Ends:
    image, part = window(node, place, x.shape[1:], kernel.shape)
    middles, radii = at(x, image)
    offset = ZERO if bias is None else arb(float(bias[place[2]]))
    return _sum(middles, radii, kernel[(*part, slice(None), place[2])], offset)


def _dense(node: Node, place: Place, x: Balls, kernel: Any, bias: Any) -> Ends:
    return _sum(*at(x, ()), kernel[:, place[0]], arb(float(bias[place[0]])))


def _sum(middles: Any, radii: Any, weights: Any, bias: Any) -> Ends:
    return around(bias + (middles * balls(weights)).sum(), (radii * balls(abs(weights))).sum())


def _batch_norm(node: Node, place: Place, x: Balls, *vectors: Any) -> Ends:
    gamma, beta, mean, variance = (arb(float(vector[place[2]])) for vector in vectors)
    scale = gamma / (variance + arb(node.settings["epsilon"])).sqrt()
    low, high = ((end - mean) * scale + beta for end in around(*single(x, place)))
    return low, high


def _relu(node: Node, place: Place, x: Balls) -> Ends:
    low, high = (ZERO if end <= 0 else end for end in around(*single(x, place)))
    return low, high


def _max_pool(node: Node, place: Place, x: Balls) -> Ends:
    image, _ = window(node, place, x.shape[1:], node.settings["size"])  # type: ignore[arg-type]
    lows, highs = around(*at(x, (*image, slice(place[2], place[2] + 1))))
    return max(lows.ravel().tolist()), max(highs.ravel().tolist())


def _add(node: Node, place: Place, x: Balls, y: Balls) -> Ends:
    (one, own), (other, others) = single(x, place), single(y, place)
    return around(one + other, own + others)


def _mean_pool(node: Node, place: Place, x: Balls) -> Ends:
    middles, radii = at(x, (slice(None), slice(None), slice(place[0], place[0] + 1)))
    return around(middles.sum() / middles.size, radii.sum() / radii.size)


RANGES: Mapping[str, Any] = {
    "pad": _pad,
    "conv2d": _conv2d,
    "batch_norm": _batch_norm,
    "relu": _relu,
    "max_pool": _max_pool,
    "add": _add,
    "mean_pool": _mean_pool,
    "dense": _dense,
}


def sampled_places(shape: Place, count: int, source: np.random.Generator) -> list[Place]:
    """The first and the last place, where padding is read, and some between them."""
    drawn = [tuple(int(source.integers(size)) for size in shape) for _ in range(count - 2)]
    return [tuple(0 for _ in shape), tuple(size - 1 for size in shape), *drawn]
