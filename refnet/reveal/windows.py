"""Where the windows of a convolution lie in its input."""

from __future__ import annotations

from typing import Any

from ..errors import InputError
from ..graph import Node


def paddings(node: Node, shape: tuple[int, ...]) -> Any:
    """The padding inside the layer: none where a layer before it has added it already."""
    padding: Any = node.settings["padding"]
    strides: Any = node.settings["strides"]
    inside = [
        (size + sum(pad) - window) // by + 1
        for size, pad, window, by in zip(shape[1:3], padding, node.weights["kernel"], strides, strict=False)
    ]
    return padding if tuple(inside) == node.shape[:2] else ((0, 0), (0, 0))


def middle(node: Node, shape: tuple[int, ...]) -> tuple[int, int]:
    """A place of the output whose window lies inside the picture. Raises InputError where there is none."""
    place = (node.shape[0] // 2, node.shape[1] // 2)
    for first, window, size in zip(corner(node, shape, place), node.weights["kernel"], shape[1:], strict=False):
        if not 0 <= first <= size - window:
            raise InputError(
                f"a window of {' x '.join(map(str, node.weights['kernel'][:2]))} over {shape[1]} x {shape[2]} pixels",
                expected="a place where it does not reach over the edge",
                do="probe larger pictures",
            )
    return place


def corner(node: Node, shape: tuple[int, ...], place: tuple[int, int]) -> tuple[int, int]:
    """The first pixel of a place's window."""
    strides: Any = node.settings["strides"]
    (top, _), (left, _) = paddings(node, shape)
    return place[0] * strides[0] - top, place[1] * strides[1] - left
