"""The tree of a sum from where its terms meet, without knowing yet how each meeting rounds.

One sweep (counting.py) tells, for one term, at which of its ancestors each other term comes in. The terms that come in
together are a subtree, which is swept in its turn, until every subtree is a single term: about 2 K queries for a chain,
K log K for a balanced tree, K^2 / 2 at the worst.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from ..arithmetic.schedule import Indices
from .black_box import BlackBox, NoTreeError
from .counting import Counts, Sweep, lost_units


@dataclass(eq=False)
class Meeting:
    """A node: its children are added. Two of them by one addition; more, and perhaps two, by one fused sum."""

    children: list[int | Meeting] = field(default_factory=list)


@dataclass(frozen=True)
class _Pending:
    """A subtree that is not known yet: its leaves, and the place among a meeting's children where it goes."""

    leaves: Indices
    parent: Meeting
    place: int
    drawn: bool  # whether its first term would tell little


def find_meetings(box: BlackBox, seed: int = 0) -> Meeting:
    """The tree over all terms of the box; the meeting of a sum of one term has one child.

    Raises NoTreeError where the answers contradict each other: there is no tree, or not always the same.
    """
    rng = np.random.default_rng(seed)
    top = Meeting([0])
    pending = [_Pending(np.arange(box.terms), top, 0, drawn=False)] if box.terms > 1 else []
    while pending:
        sweeps = [Sweep(group.leaves, _pivot(group, rng)) for group in pending]
        lost = lost_units(box, sweeps)
        found: list[_Pending] = []
        for group, sweep, counts in zip(pending, sweeps, lost, strict=True):
            node, subtrees = _path(box, sweep, counts)
            group.parent.children[group.place] = node
            found += subtrees
        pending = found
    only = top.children[0]
    return only if isinstance(only, Meeting) else top


def _pivot(group: _Pending, rng: np.random.Generator) -> int:
    """The first term, with which most chains begin; a drawn one where that would take one step at a time."""
    return int(rng.choice(group.leaves)) if group.drawn else int(group.leaves[0])


def _path(box: BlackBox, sweep: Sweep, counts: Counts) -> tuple[int | Meeting, list[_Pending]]:
    """The subtree of a sweep: the meetings above its pivot, from below, and what comes in there and is no single term.

    Where two meet in an addition, all leaves under both are lost. A fused sum is exact: a pair that meets in it loses
    the leaves under its own two operands only.
    """
    node: int | Meeting = sweep.pivot
    below = size = 1  # leaves under the child of the newest meeting that holds the pivot; leaves under the meeting
    pending: list[_Pending] = []
    for lost, leaves in _groups(sweep, counts):
        count = len(leaves)
        same = isinstance(node, Meeting) and lost == below + count < size + count
        if same and lost == size + 1:  # the masks cannot tell {p, q, x} with x of two terms from {x, p, q}
            same = not _rounds_first(box, sweep.pivot, node, int(leaves[0]))
        if same:
            siblings = [leaves]
        elif lost == size + count:
            node, below, siblings = Meeting([node]), size, [leaves]
        elif lost == size + 1:
            node, below, siblings = Meeting([node]), size, list(leaves.reshape(-1, 1))
        else:
            raise NoTreeError(
                f"{count} terms meet term {sweep.pivot} where {lost} are lost, which fits no tree: "
                "the order changes between sums, or depends on the numbers"
            )
        size += count
        for sibling in siblings:
            assert isinstance(node, Meeting)
            if len(sibling) > 1:
                pending.append(_Pending(sibling, node, len(node.children), drawn=2 * count > len(sweep.leaves)))
            node.children.append(int(sibling[0]))
    return node, pending


def _rounds_first(box: BlackBox, pivot: int, node: int | Meeting, later: int) -> bool:
    """Whether the sum of the pivot and a term beside it is rounded before the later term comes in."""
    beside = node.children[-1] if isinstance(node, Meeting) else node
    while isinstance(beside, Meeting):
        beside = beside.children[0]
    weights = np.zeros((1, box.terms), box.working)
    weights[0, [pivot, beside, later]] = box.mask, box.unit, -box.mask
    return not box.ask(weights)[0]


def _groups(sweep: Sweep, counts: Counts) -> Iterator[tuple[int, Indices]]:
    """(units lost, the terms whose pairs lose so many), from few to many."""
    order = np.argsort(counts, kind="stable")
    values, starts = np.unique(counts[order], return_index=True)
    yield from zip(values.tolist(), np.split(sweep.others[order], starts[1:]), strict=True)
