"""Windows that reach over the edge of the picture: their terms on the padding are zeros, and cannot be asked."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..arithmetic import Tree, recognise
from ..arithmetic.schedule import Indices
from ..arithmetic.tree_nodes import Add, Program, Ranges, ranges_of
from ..graph import Node
from .tree_finder import Found
from .windows import corner

Place = tuple[int, int]


def terms_inside(node: Node, shape: tuple[int, ...], place: Place) -> Indices:
    """The terms of one output of a convolution whose pixel lies in the picture; shape: (n, h, w, c) of the input."""
    height, width, channels, _ = node.weights["kernel"]
    pixels = [first + np.arange(n) for first, n in zip(corner(node, shape, place), (height, width), strict=True)]
    inside = [(at >= 0) & (at < size) for at, size in zip(pixels, shape[1:3], strict=True)]
    return np.flatnonzero(np.repeat(np.logical_and.outer(*inside).reshape(-1), channels))


def whole_order(found: Found, inside: Indices, terms: int) -> Found:
    """An order over the terms inside, as one over all: each term on the padding comes behind the one inside before it,
    the first ones in front of the first one inside.

    It adds a zero there, which changes no number. inside: from below, as terms_inside gives them.
    """
    if len(inside) == terms:
        return found
    firsts = [0, *inside[1:].tolist()]
    runs = [list(range(first, end)) for first, end in zip(firsts, [*firsts[1:], terms], strict=True)]

    def with_padding(leaves: Ranges) -> Ranges:
        return ranges_of(term for run in leaves for leaf in run for term in runs[leaf])

    program: Program = tuple(
        node if isinstance(node, Add) else replace(node, leaves=with_padding(node.leaves))
        for node in Tree.of(found.order, len(inside)).program
    )
    return replace(found, order=recognise(Tree(program), fma=found.fma, bias=found.bias))
