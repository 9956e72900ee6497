"""The name of a tree that has one."""

from __future__ import annotations

from collections.abc import Iterator

from ..errors import InputError
from .order import Order
from .orders import Blocks, Lanes, Pairwise, Reversed, Sequential
from .tree import Tree
from .tree_nodes import Add, Grow, Program, joined

WRITTEN_OUT = 4  # so many blocks of different sizes are named size by size


def recognise(tree: Tree, *, fma: bool = True, bias: str = "last") -> Order:
    """The named order with the same bits for every input, or the tree itself.

    x + y and y + x are the same; with bias `first` they are not, since the bias starts the first chain. Without fma a
    chain's step is an addition of the product, so that more trees are the same (up to the sign of a zero).
    """
    terms, wanted = len(tree.leaves), _canonical(tree.program, fma, bias)
    plain = _canonical(tree.program, True, bias)
    for order in (*_candidates(terms, wanted), *_candidates(terms, plain)):
        try:
            found = Tree.of(order, terms)
        except InputError:
            continue  # these sizes do not add up: another order
        if _canonical(found.program, fma, bias) == wanted:
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


def _canonical(program: Program, fma: bool, bias: str) -> Program:
    """One program for all that are the same: the operand with the smaller least leaf comes first."""
    stack: list[tuple[int, Program]] = []
    for node in program:
        if not isinstance(node, Add):
            least, below = stack.pop() if node.on_top else (_NO_LEAF, ())
            stack.append((min([least, *(min(run) for run in node.leaves)]), (*below, node)))
            continue
        right, left = stack.pop(), stack.pop()
        if bias == "last":
            left, right = sorted((left, right), key=lambda operand: operand[0])
        stack.append((min(left[0], right[0]), _sum(left[1], right[1], fma, bias)))
    return joined(_first_pair_sorted(stack[0][1]) if not fma and bias == "last" else stack[0][1])


_NO_LEAF = 1 << 62


def _sum(left: Program, right: Program, fma: bool, bias: str) -> Program:
    if not fma and _is_leaf(right):
        return (*left, *(Grow(node.leaves, True) for node in right if isinstance(node, Grow)))
    if not fma and bias == "last" and _is_leaf(left):
        return (*right, *(Grow(node.leaves, True) for node in left if isinstance(node, Grow)))
    return (*left, *right, Add())


def _is_leaf(program: Program) -> bool:
    """Whether it is one term alone."""
    node = program[0]
    return len(program) == 1 and isinstance(node, Grow) and sum(map(len, node.leaves)) == 1


def _first_pair_sorted(program: Program) -> Program:
    """Without fma the first two terms of a chain from +0 are interchangeable."""
    result = []
    for node in joined(program):
        if isinstance(node, Grow) and not node.on_top:
            leaves = [k for run in node.leaves for k in run]
            node = Grow(tuple(range(k, k + 1) for k in [*sorted(leaves[:2]), *leaves[2:]]))
        result.append(node)
    return tuple(result)
