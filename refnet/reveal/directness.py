"""Whether a convolution adds the products of its windows, and only those: a number of weight zero must not be seen.

Fast convolutions multiply sums of inputs by sums of weights, and what does not belong into an output cancels. Where one
input is huge, it takes the others' digits with it and does not cancel: it leaves traces in outputs that give it no
weight. Winograd's (Lavin and Gray 2016) reach as far as a tile, those of a Fourier transform as far as the picture.
Order, fused multiply-add, compensation and format of a direct sum are all the same to the question: 0 x = 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arithmetic import FORMATS
from ..arithmetic.formats import Array
from ..graph import Node
from ..kernels import conv2d
from .black_box import NoTreeError
from .session import Session
from .windows import corner, middle, paddings

FORMAT = FORMATS["float32"]
LARGE = 1.1 * 2.0 ** (FORMAT.emax * 4 // 5)  # leaves room for sums of its products in float32


@dataclass(frozen=True)
class Traces:
    """What a number of weight zero does. everywhere: in most outputs.  reach: pixels from it to the farthest window."""

    everywhere: bool
    reach: int

    def __str__(self) -> str:
        if self.everywhere:
            return (
                "no direct sum: an input of weight zero leaves traces everywhere (as those of a Fourier transform do)"
            )
        where = (
            f"up to {self.reach} pixel{'s'[: self.reach - 1]} outside its windows"
            if self.reach
            else "inside its windows"
        )
        return f"no direct sum: an input of weight zero leaves traces {where} (as Winograd's do)"


def check_direct(session: Session, node: Node, shape: tuple[int, ...], seed: int = 0) -> None:
    """Raises NoTreeError, with what is seen, unless the convolution that the session has taken up is a direct sum.

    shape: of its input, batch first. At most four questions.
    """
    found = traces(session, node, shape, seed)
    if found is not None:
        raise NoTreeError(str(found))


def traces(session: Session, node: Node, shape: tuple[int, ...], seed: int = 0) -> Traces | None:
    """The traces of one huge number, in the first picture and one channel, in outputs that give it weight zero.

    It is put at the first, the middle and the last pixel of a window, since tiles may have it where it stays alone;
    those three have weight zero in that channel, all other numbers are drawn. A trace is a change of an output that is
    larger than all changes of order can make: 2 (K + 1) u sum |a b|.
    """
    rng = np.random.default_rng(seed)
    top, left = corner(node, shape, middle(node))
    channel = int(rng.integers(shape[-1]))
    x = rng.standard_normal(shape).astype(np.float32)
    tensors = [rng.standard_normal(size).astype(np.float32) for size in node.weights.values()]
    height, width = tensors[0].shape[:2]
    ends = dict.fromkeys([(0, 0), (height // 2, width // 2), (height - 1, width - 1)])
    taps = [(i, j) for i, j in ends if 0 <= top + i < shape[1] and 0 <= left + j < shape[2]]
    for tap in taps:
        tensors[0][(*tap, channel)] = 0
    bound = _any_order(node, x, tensors)
    session.give(x)
    without = session.run(*tensors)
    found = []
    for tap in taps:
        pixel = (top + tap[0], left + tap[1])
        given = x.copy()
        given[(0, *pixel, channel)] = LARGE
        session.give(given)
        with np.errstate(invalid="ignore"):
            still = (abs(session.run(*tensors) - without) <= bound).all(-1)  # a NaN is a trace too
        distance = _distances(node, shape, pixel, taps)
        seen, free = ~still & (distance >= 0), distance >= 0
        if seen.any():
            found.append(Traces(bool(2 * seen.sum() > free.sum()), int(distance[seen].max())))
    return max(found, key=lambda each: (each.everywhere, each.reach), default=None)


def _any_order(node: Node, x: Array, tensors: list[Array]) -> Array:
    """How far two orders of the same sums can lie apart, output by output."""
    strides: Any = node.settings["strides"]
    magnitudes = [abs(each) for each in (x, *tensors)]
    sums = conv2d(*magnitudes, strides=strides, padding=paddings(node, x.shape))
    bound: Array = 2 * (np.prod(tensors[0].shape[:-1]) + 1) * FORMAT.unit_roundoff * sums
    return bound


def _distances(
    node: Node, shape: tuple[int, ...], pixel: tuple[int, int], taps: list[tuple[int, int]]
) -> NDArray[np.int64]:
    """(pictures, height, width): how many pixels a pixel of the first picture lies outside each output's window.

    0 where it has weight zero inside, being one of `taps`, or belongs to another picture; -1 where the output rightly
    holds it.
    """
    rows, columns = (_places_in_windows(node, shape, axis, at) for axis, at in enumerate(pixel))
    outside = [
        np.maximum(-k, 0) + np.maximum(k - size + 1, 0)
        for k, size in zip((rows, columns), node.weights["kernel"], strict=False)
    ]
    distance = np.maximum(outside[0][:, None], outside[1][None, :])
    zero = np.any([(rows[:, None] == i) & (columns[None, :] == j) for i, j in taps], axis=0)
    distances = np.zeros((shape[0], *node.shape[:2]), np.int64)
    distances[0] = np.where((distance == 0) & ~zero, -1, distance)
    return distances


def _places_in_windows(node: Node, shape: tuple[int, ...], axis: int, at: int) -> NDArray[np.int64]:
    """Along one axis, the place of a pixel in each output's window; outside of 0 to size - 1 it is not in it."""
    strides: Any = node.settings["strides"]
    before = paddings(node, shape)[axis][0]
    places: NDArray[np.int64] = at + before - np.arange(node.shape[axis]) * strides[axis]
    return places
