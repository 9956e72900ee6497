"""Where two terms meet: a large number at one, its negative at the other, units elsewhere.

Until the two meet, each absorbs every unit that it is added to; when they have met, what is added later survives. So
the sum counts the units outside the smallest subtree that holds both (FPRev: Xie et al. 2024, arXiv 2411.00442).

An output of few bits rounds counts: 256 units are all that bfloat16 tells apart. Rounded counts still tell most: along
the path of one term, where fewer units survive, the other term comes in later. So of the leaves with another rounded
count than a pair's it is known whether they survive that pair, and only those with the same one are counted. But in a
fused sum also what came in earlier survives, which is asked.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..arithmetic import round_to
from ..arithmetic.formats import Array
from ..arithmetic.schedule import Indices
from .black_box import BlackBox, NoTreeError

Counts = NDArray[np.int64]
ALMOST = 0.4  # from a whole number, where a rounded quotient was multiplied again


@dataclass(frozen=True)
class Sweep:
    """One term against all others of a subtree. leaves: of the subtree.  pivot: the one; it is among them."""

    leaves: Indices
    pivot: int

    @property
    def others(self) -> Indices:
        return self.leaves[self.leaves != self.pivot]


@dataclass(frozen=True)
class Query:
    """One pair of a sweep, number `place` of its others, and the leaves that are switched on."""

    sweep: int
    place: int
    on: Indices


def lost_units(box: BlackBox, sweeps: Sequence[Sweep]) -> list[Counts]:
    """For each sweep and each of its other terms: how many of its leaves were lost, the pair counted as two.

    Only the leaves of the sweep's own subtree are switched on, a part of them at a time where the format cannot count
    them all. Raises NoTreeError for sums that count nothing.
    """
    wide = [number for number, sweep in enumerate(sweeps) if _is_wide(box, sweep)]
    rough = _rough_counts(box, sweeps, wide)
    survived = _counted(box, sweeps, rough)
    hidden = _with_survivors(box, sweeps, rough, survived)
    wrong = [number for number in wide if number in hidden or (_rounded(box, survived[number]) != rough[number]).any()]
    again = _counted(box, [sweeps[number] for number in wrong], {})
    for number, counts in zip(wrong, again, strict=True):
        survived[number] = counts
    return [len(sweep.leaves) - counts for sweep, counts in zip(sweeps, survived, strict=True)]


def _is_wide(box: BlackBox, sweep: Sweep) -> bool:
    return box.rough and box.divisor == 1 and box.limit < len(sweep.leaves) <= box.rough_limit


def _rough_counts(box: BlackBox, sweeps: Sequence[Sweep], wide: Sequence[int]) -> dict[int, Counts]:
    """For each pair of the wide sweeps, the units that survive, rounded to the output."""
    queries = [
        Query(number, place, sweeps[number].leaves) for number in wide for place in range(len(sweeps[number].others))
    ]
    ends = np.cumsum([len(sweeps[number].others) for number in wide])
    return dict(zip(wide, np.split(_asked(box, sweeps, queries), ends[:-1]), strict=True)) if wide else {}


def _counted(box: BlackBox, sweeps: Sequence[Sweep], rough: dict[int, Counts]) -> list[Counts]:
    """For each pair, the units that survive. rough: what is known of some sweeps; the others have all leaves asked."""
    survived = [np.zeros(len(sweep.others), np.int64) for sweep in sweeps]
    queries: list[Query] = []
    for number, sweep in enumerate(sweeps):
        for places, later, on in _classes(sweep, rough.get(number)):
            survived[number][places] += later
            parts = [on[start : start + box.limit] for start in range(0, len(on), box.limit)]
            queries += [Query(number, place, part) for place in places.tolist() for part in parts]
    for query, count in zip(queries, _asked(box, sweeps, queries).tolist(), strict=True):
        survived[query.sweep][query.place] += count
    return survived


def _with_survivors(
    box: BlackBox, sweeps: Sequence[Sweep], rough: dict[int, Counts], survived: Sequence[Counts]
) -> set[int]:
    """The sweeps in which leaves survive a pair though fewer units survive than theirs: its siblings in a fused sum.

    What comes in at one meeting is asked once. Alone, a leaf loses no more than its siblings do, which then are counted
    with it; so only where several leaves come in together may some of them have been left out.
    """
    queries: list[Query] = []
    for number, counts in rough.items():
        _, places, leaves = np.unique(survived[number], return_index=True, return_counts=True)
        for place in places[leaves > 1].tolist():
            earlier = sweeps[number].others[counts > counts[place]]
            queries += [Query(number, place, earlier)] if len(earlier) else []
    return {query.sweep for query, left in zip(queries, _asked(box, sweeps, queries).tolist(), strict=True) if left}


def _classes(sweep: Sweep, rough: Counts | None) -> Iterator[tuple[Indices, int, Indices]]:
    """(places of pairs, leaves that surely survive them, leaves to be counted) for each rough count."""
    if rough is None:
        yield np.arange(len(sweep.others)), 0, sweep.leaves
        return
    order = np.argsort(rough, kind="stable")
    starts = np.unique(rough[order], return_index=True)[1]
    for later, places in zip(starts.tolist(), np.split(order, starts[1:]), strict=True):
        yield places, later, sweep.others[places]


def _asked(box: BlackBox, sweeps: Sequence[Sweep], queries: Sequence[Query]) -> Counts:
    """The units that survived in each query."""
    counts = [np.zeros(0, np.int64)]
    for start in range(0, len(queries), box.rows):
        some = queries[start : start + box.rows]
        weights = np.zeros((len(some), box.terms), box.working)
        for row, query in zip(weights, some, strict=True):
            sweep = sweeps[query.sweep]
            row[query.on] = box.unit
            row[sweep.pivot], row[sweep.others[query.place]] = box.mask, -box.mask
        counts.append(_whole(box, box.ask(weights)))
    return np.concatenate(counts)


def _whole(box: BlackBox, answers: Array) -> Counts:
    """Answers as counts, or NoTreeError."""
    units = answers * (box.divisor / box.unit)
    counts = np.rint(units) if box.divisor > 1 else units  # a quotient was rounded; it is not a whole number
    most = round_to(float(box.terms), box.formats.out)
    whole = (abs(units - counts) <= ALMOST) & (counts == np.rint(counts)) & (counts >= 0) & (counts <= most)
    if not whole.all():
        raise NoTreeError(
            f"a sum of ones, a large number and its negative gave {units[~whole][0]:g} and not a count: "
            "not of rounded additions alone (perhaps compensated)"
        )
    return counts.astype(np.int64)


def _rounded(box: BlackBox, counts: Counts) -> Counts:
    """Counts as they would come back."""
    return np.asarray(box.formats.finished(counts * box.unit) / box.unit, np.int64)
