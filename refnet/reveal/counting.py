"""Where two terms meet: a large number at one, its negative at the other, units elsewhere.

Until the two meet, each absorbs every unit that it is added to; when they have met, what is added later survives. So
the sum counts the units outside the smallest subtree that holds both (FPRev: Xie et al. 2024, arXiv 2411.00442).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..arithmetic.schedule import Indices
from .black_box import BlackBox, NoTreeError

Counts = NDArray[np.int64]
ALMOST = 0.01  # from a whole number, where a rounded quotient was multiplied again


@dataclass(frozen=True)
class Sweep:
    """One term against all others of a subtree. leaves: of the subtree.  pivot: the one; it is among them."""

    leaves: Indices
    pivot: int

    @property
    def others(self) -> Indices:
        return self.leaves[self.leaves != self.pivot]


def lost_units(box: BlackBox, sweeps: Sequence[Sweep]) -> list[Counts]:
    """For each sweep and each of its other terms: how many of its leaves were lost, the pair counted as two.

    Only the leaves of the sweep's own subtree are switched on, a part of them at a time where the format cannot count
    them all. Raises NoTreeError for sums that count nothing.
    """
    lost = [np.full(len(sweep.others), len(sweep.leaves), np.int64) for sweep in sweeps]
    waiting: list[tuple[int, int, Indices]] = []  # sweep, place of the other term, leaves that are switched on
    for number, sweep in enumerate(sweeps):
        parts = [sweep.leaves[start : start + box.limit] for start in range(0, len(sweep.leaves), box.limit)]
        for place in range(len(sweep.others)):
            for part in parts:
                waiting.append((number, place, part))
                if len(waiting) == box.rows:
                    _subtract(box, sweeps, waiting, lost)
                    waiting.clear()
    if waiting:
        _subtract(box, sweeps, waiting, lost)
    return lost


def _subtract(
    box: BlackBox, sweeps: Sequence[Sweep], queries: Sequence[tuple[int, int, Indices]], lost: list[Counts]
) -> None:
    """Takes the units that survived in each query off the lost ones of its pair."""
    weights = np.zeros((len(queries), box.terms), box.format.working)
    for row, (number, place, part) in zip(weights, queries, strict=True):
        row[part] = box.unit
        row[sweeps[number].pivot], row[sweeps[number].others[place]] = box.mask, -box.mask
    answers = box.ask(weights) * (box.divisor / box.unit)
    counts = np.rint(answers) if box.divisor > 1 else answers  # a quotient was rounded; it is not a whole number
    whole = (abs(answers - counts) <= ALMOST) & (counts == np.rint(counts)) & (counts >= 0) & (counts <= box.terms)
    if not whole.all():
        raise NoTreeError(
            f"a sum of ones, a large number and its negative gave {answers[~whole][0]:g} and not a count: "
            "not of rounded additions alone (perhaps compensated)"
        )
    for (number, place, _), count in zip(queries, counts.astype(np.int64).tolist(), strict=True):
        lost[number][place] -= count
