"""The name of a tree that has one."""

from __future__ import annotations

from collections.abc import Iterator

from ..errors import InputError
from .fused_sum import NEAREST
from .order import Order
from .orders import Blocks, Lanes, Pairwise, Reversed, Sequential
from .tree import Tree
from .tree_nodes import Add, Fuse, Grow, Node, Program, joined, ranges_of

WRITTEN_OUT = 4  # so many blocks of different sizes are named size by size


def recognise(tree: Tree, *, fma: bool = True, bias: str = "last") -> Order:
    """The named order with the same bits for every input, or the tree itself.

    x + y and y + x are the same; with bias `first` they are not, since the bias starts the first chain. Without fma a
    chain's step is an addition of the product, so that more trees are the same (up to the sign of a zero).
    """
    terms, wanted = len(tree.leaves), canonical(tree.program, fma, bias)
    plain = canonical(tree.program, True, bias)
    for order in (*_candidates(terms, wanted), *_candidates(terms, plain)):
        try:
            found = Tree.of(order, terms)
        except InputError:
            continue  # these sizes do not add up: another order
        if canonical(found.program, fma, bias) == wanted:
            return order
    return tree


def _candidates(terms: int, program: Program) -> Iterator[Order]:
    lengths = tuple(sum(map(len, node.leaves)) for node in program if not isinstance(node, Add))
    yield from (Sequential(), Reversed())
    if min(lengths) < 1:
        return
    if len(set(lengths)) > 1 and len(lengths) <= WRITTEN_OUT:
        yield Blocks(lengths)
    yield from (Blocks((lengths[0],)), Pairwise(), Pairwise(lengths[0]))
    yield from (Lanes(1 << j) for j in range(1, terms.bit_length()))
    yield Blocks(lengths)


def canonical(program: Program, fma: bool, bias: str) -> Program:
    """One program for all that are the same: the operand with the smaller least leaf comes first.

    The chain that starts from the bias stays the first one. A fused sum has no order of its own, and one of a single
    product is a step of a chain.
    """
    stack: list[tuple[int, Program]] = []
    for place, part in enumerate(program):
        started = place == 0 and bias == "first"
        node = _unordered(part, fma, started)
        if isinstance(node, Add):
            (low, left), (high, right) = sorted((stack.pop(), stack.pop()), key=lambda operand: operand[0])
            stack.append((low, _sum((low, left), (high, right), fma)))
            continue
        least, below = stack.pop() if node.on_top else (_BIAS if started else _NO_LEAF, ())
        stack.append((min([least, *(min(run) for run in node.leaves)]), (*below, node)))
    parts = joined(stack[0][1])
    return parts if fma else joined(tuple(_pair_sorted(n, not i and bias == "first") for i, n in enumerate(parts)))


_NO_LEAF, _BIAS = 1 << 62, -1


def _unordered(node: Node, fma: bool, started: bool) -> Node:
    """A fused sum with its leaves sorted; with one leaf, a step of a chain where that rounds alike."""
    if not isinstance(node, Fuse):
        return node
    leaves = sorted(k for run in node.leaves for k in run)
    alike = fma or not (started or node.on_top)
    if len(leaves) == 1 and alike and node.rounding == NEAREST:
        return Grow(ranges_of(leaves), node.on_top)
    return Fuse(ranges_of(leaves), node.on_top, node.rounding)


def _sum(lower: tuple[int, Program], higher: tuple[int, Program], fma: bool) -> Program:
    """Without fma the sum with a product is a step of a chain."""
    (low, left), (_, right) = lower, higher
    if not fma and _is_leaf(right):
        return (*left, *(Grow(node.leaves, True) for node in right if isinstance(node, Grow)))
    if not fma and low != _BIAS and _is_leaf(left):
        return (*right, *(Grow(node.leaves, True) for node in left if isinstance(node, Grow)))
    return (*left, *right, Add())


def _is_leaf(program: Program) -> bool:
    """Whether it is one term alone."""
    node = program[0]
    return len(program) == 1 and isinstance(node, Grow) and sum(map(len, node.leaves)) == 1


def _pair_sorted(node: Node, started: bool) -> Node:
    """Without fma the first two terms of a chain from +0 are interchangeable."""
    if started or not isinstance(node, Grow) or node.on_top:
        return node
    leaves = [k for run in node.leaves for k in run]
    return Grow(ranges_of([*sorted(leaves[:2]), *leaves[2:]]))
