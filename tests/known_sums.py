"""Sums whose order and formats are known, seen from outside."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from refnet import ops
from refnet.arithmetic import Arithmetic, Order, Tree
from refnet.arithmetic.recognise import canonical
from refnet.arithmetic.tree_nodes import Fuse, Grow
from refnet.reveal import BlackBox, Found, SumFormats

FLOAT32 = SumFormats.alike("float32")
FUSED = ((None, "nearest"),)


def box_of(
    order: Order, terms: int, *, formats: SumFormats = FLOAT32, fma: bool = True, bias: str | None = None
) -> BlackBox:
    """A sum by the definition, seen from outside."""
    arithmetic = Arithmetic(formats.sums, formats.sums, order, fma, bias or "last")

    def sum_of(weights: np.ndarray, inputs: np.ndarray) -> np.ndarray:
        a, b = inputs[None, :terms], np.ascontiguousarray(weights[:, :terms].T)
        result = ops.sums(a, b, weights[:, terms] if bias else None, arithmetic=arithmetic)[0]
        return formats.finished(result)

    return BlackBox(sum_of, terms + (bias is not None), formats, bias=bias is not None)


def assert_same(found: Found, tree: Tree, fma: bool, bias: str | None) -> None:
    """The same tree up to what changes no bit; where fma shows nowhere in it, both answers are right."""
    assert bias is None or found.bias == bias
    program = tree.program
    if found.formats.exact_products:  # then no product is rounded, and a fused sum of two is their addition
        starts = bias == "first"  # then the bias is one more operand of the first node
        fma, program = (
            False,
            tuple(Grow(n.leaves) if is_pair(n) and (i or not starts) else n for i, n in enumerate(program)),
        )
    elif found.fma != fma:
        assert fma and not any(isinstance(n, Grow) and sum(map(len, n.leaves)) + n.on_top > 1 for n in tree.program)
        return
    recovered = Tree.of(found.order, len(tree.leaves))
    place = bias or "last"
    assert canonical(recovered.program, fma, place) == canonical(program, fma, place)


def is_pair(node: object) -> bool:
    return isinstance(node, Fuse) and not node.on_top and sum(map(len, node.leaves)) == 2


def counted(box: BlackBox, asked: list[int]) -> BlackBox:
    def sum_of(weights: np.ndarray, inputs: np.ndarray) -> np.ndarray:
        asked.append(len(weights))
        return box.sum_of(weights, inputs)

    return replace(box, sum_of=sum_of)
