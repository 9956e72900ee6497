"""In which order a softmax adds its exponentials, by which of three terms meet first.

All terms are positive, so that no mask can be taken away again. But 1 absorbs a term of 0.75 x 2^-24, and does not
absorb two of them that have met before: one logit is 0, two are such that their exponentials are about that, and the
sum is more than 1 where those two meet first. Which pair of three meets first tells the whole tree: two terms i and j
split a set into those that meet i first, those that meet j first, and those that come in above both.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..arithmetic import Order, Tree, recognise
from .assembly import from_below, program_of
from .black_box import NoTreeError
from .meetings import Meeting
from .softmax_rows import NOTHING, SoftmaxRows

Triples = NDArray[np.int64]
Flags = NDArray[np.bool_]
MeetFirst = Callable[[Triples], Flags]
"""(n, 3) -> (n,): whether the last two terms meet before they meet the first."""
HALF_LOST = np.float32(np.log(0.75 * 2.0**-24))


@dataclass(frozen=True)
class _Part:
    """Terms, each with what stands for it, whose tree goes to a place among a meeting's children."""

    terms: list[int]
    nodes: list[int | Meeting]
    parent: Meeting
    place: int


def order_of(rows: SoftmaxRows, seed: int = 0, *, together: bool = False) -> Order:
    """The order, by its name where it has one; together: as in SoftmaxRows.ask.

    Raises NoTreeError where the answers fit no tree of additions.
    """
    rng = np.random.default_rng(seed)
    top = tree_by_triples(rows.classes, lambda triples: meet_first(rows, triples, together=together), rng)
    _sort(top)
    return recognise(Tree(program_of(top, np.ones(rows.classes, bool), False)), fma=False)


def _sort(top: Meeting) -> None:
    """The operand with the smaller least term comes first, so that one tree is always written in one way."""
    least: dict[int, int] = {}

    def least_of(child: int | Meeting) -> int:
        return least[id(child)] if isinstance(child, Meeting) else child

    for node in from_below(top):
        node.children.sort(key=least_of)
        least[id(node)] = least_of(node.children[0])


def meet_first(rows: SoftmaxRows, triples: Triples, *, together: bool = False) -> Flags:
    """By the outputs of the logits 0, which are 1 where the sum is."""
    logits = np.full((len(triples), rows.classes), NOTHING, np.float32)
    np.put_along_axis(logits, triples[:, 1:], HALF_LOST, axis=1)
    np.put_along_axis(logits, triples[:, :1], np.float32(0), axis=1)
    flags: Flags = rows.ask(logits, together=together).max(axis=1) != 1
    return flags


def tree_by_triples(terms: int, meets: MeetFirst, rng: np.random.Generator) -> Meeting:
    """The tree over `terms` >= 2 terms, in rounds of questions: about 2 K log K of them for every kind of tree."""
    top = Meeting([0])
    parts = [_Part(list(range(terms)), list(range(terms)), top, 0)]
    while parts:
        pairs = [sorted(rng.choice(len(part.terms), 2, replace=False), key=part.terms.__getitem__) for part in parts]
        triples = [_triples(part, *pair) for part, pair in zip(parts, pairs, strict=True)]
        flags = meets(np.concatenate(triples)) if sum(map(len, triples)) else np.zeros(0, bool)
        split = np.split(flags, np.cumsum([len(each) for each in triples])[:-1])
        parts = [
            smaller
            for part, (i, j), answers in zip(parts, pairs, split, strict=True)
            for smaller in _split(part, i, j, answers.reshape(2, -1))
        ]
    only = top.children[0]
    assert isinstance(only, Meeting)
    return only


def _triples(part: _Part, i: int, j: int) -> Triples:
    """For each other term k: does it meet i before j; then, does it meet j before i."""
    first, second = part.terms[i], part.terms[j]
    others = [term for term in part.terms if term not in (first, second)]
    wanted = [(second, first, k) for k in others] + [(first, second, k) for k in others]
    return np.array(wanted, np.int64).reshape(-1, 3)


def _split(part: _Part, i: int, j: int, answers: Flags) -> list[_Part]:
    """The parts that are not a single term; those are put where they go."""
    if (answers[0] & answers[1]).any():
        raise NoTreeError("of three exponentials more than one pair meets first: the sum is more exact than float32")
    others = np.array([k for k in range(len(part.terms)) if k not in (i, j)], np.int64)
    meeting, late = Meeting([0, 0]), ~answers.any(axis=0)
    groups = [
        ([i, *others[answers[0]].tolist()], meeting, 0),
        ([j, *others[answers[1]].tolist()], meeting, 1),
        ([i, *others[late].tolist()], part.parent, part.place),
    ]
    parts = []
    for chosen, parent, place in groups:
        terms = [part.terms[k] for k in chosen]
        nodes = [meeting if parent is part.parent and k == i else part.nodes[k] for k in chosen]
        parent.children[place] = nodes[0]
        if len(terms) > 1:
            parts.append(_Part(terms, nodes, parent, place))
    return parts
