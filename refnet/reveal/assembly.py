"""From meetings and roundings to a Tree: what is a chain and where it starts, what an addition, what a fused sum."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..arithmetic.schedule import Indices
from ..arithmetic.tree_nodes import Add, Fuse, Grow, Node, Program, ranges_of
from .black_box import NoTreeError
from .meetings import Meeting
from .rounding import Flags


def from_below(top: Meeting) -> Iterator[Meeting]:
    """All meetings, each after those under it, and those in the order of its children."""
    stack = [(top, False)]
    while stack:
        node, done = stack.pop()
        if done:
            yield node
            continue
        stack.append((node, True))
        stack += [(child, False) for child in reversed(node.children) if isinstance(child, Meeting)]


def partners(top: Meeting, terms: int) -> Indices:
    """(terms,): for each term a term under another child of the meeting where it comes in; a lone term's is itself."""
    found = np.arange(terms)
    inside: dict[int, int] = {}  # a term under each meeting
    for node in from_below(top):
        under = [inside[id(child)] if isinstance(child, Meeting) else child for child in node.children]
        inside[id(node)] = under[0]
        for place, child in enumerate(node.children):
            if not isinstance(child, Meeting):
                found[child] = under[place - 1]
    return found


def unrounded_in_fused_sums(top: Meeting, rounded: Flags, factors: int) -> Flags:
    """The flags where products are exact: whether one was rounded has no meaning, but a fused sum takes it as it is.

    factors: how many terms are products; a bias behind them is none.
    """
    flags = rounded.copy()
    for node in from_below(top):
        if len(node.children) > 2:
            flags[[k for k in node.children if not isinstance(k, Meeting) and k < factors]] = False
    return flags


def has_fma(top: Meeting, rounded: Flags) -> bool:
    """Whether somewhere a product goes unrounded into an addition of two."""
    for node in from_below(top):
        unrounded = [k for k in node.children if not isinstance(k, Meeting) and not rounded[k]]
        if len(node.children) == 2 and len(unrounded) == 1:
            return True
    return False


def without_bias(top: Meeting, bias: int, rounded: Flags) -> tuple[Meeting, str]:
    """The tree without its bias, and the bias's place, `last` or `first`; the chain that it starts then comes first.

    Changes `top` in place. Raises NoTreeError for a bias that comes in between.
    """
    above = {id(child): node for node in from_below(top) for child in node.children if isinstance(child, Meeting)}
    node = next(node for node in from_below(top) if bias in node.children)
    rest = [child for child in node.children if child != bias]
    alone = len(rest) == 1
    if alone and node is top and (isinstance(rest[0], Meeting) or rounded[rest[0]]):
        return (rest[0] if isinstance(rest[0], Meeting) else Meeting(rest)), "last"
    if alone and isinstance(rest[0], Meeting):
        raise NoTreeError("the bias is added to a part of the sum")
    node.children = rest
    while id(node) in above:
        parent = above[id(node)]
        parent.children = [node, *(child for child in parent.children if child is not node)]
        node = parent
    return top, "first"


def program_of(top: Meeting, rounded: Flags, fma: bool) -> Program:
    """The program of tree_nodes that adds so."""
    return tuple(step for node in from_below(top) for step in _steps(node, rounded, fma))


def _steps(node: Meeting, rounded: Flags, fma: bool) -> Iterator[Node]:
    """What a meeting does when the values of the meetings under it are there."""
    leaves = [child for child in node.children if not isinstance(child, Meeting)]
    values = len(node.children) - len(leaves)
    exact = [leaf for leaf in leaves if not rounded[leaf]]
    plain = [leaf for leaf in leaves if rounded[leaf]]
    if len(node.children) == 1:
        yield Grow(ranges_of(leaves))
    elif len(node.children) == 2 and not exact:
        yield from _addition(plain, fma)
    elif values + len(plain) > 1:
        raise NoTreeError(
            f"{values + len(plain)} rounded numbers are added at once: no sum that a tree has a node for "
            "(compensated, or in an order that depends on the numbers' sizes)"
        )
    else:
        if plain:
            yield Grow(ranges_of(plain))
        start = bool(values + len(plain))
        runs = ranges_of(sorted(exact))
        yield Grow(runs, start) if fma and start and len(exact) == 1 else Fuse(runs, start)


def _addition(plain: list[int], fma: bool) -> Iterator[Node]:
    """Two rounded numbers are added; `plain` are those of them that are products."""
    chained = not fma  # without fma a step of a chain adds a rounded product
    for place, leaf in enumerate(plain):
        yield Grow(ranges_of([leaf]), chained and (place > 0 or len(plain) == 1))
    if not chained or not plain:
        yield Add()
