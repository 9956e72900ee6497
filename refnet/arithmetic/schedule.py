"""The shape of a sum: which terms form a chain, and which chains are then added to which."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .fused_sum import Rounding

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Schedule:
    """A program for a stack of numbers.

    The terms are taken in the order of `permutation` (K,). Chain i takes the next `lengths[i]` of them and pushes its
    value; then `merges[i]` times the two newest values are replaced by their sum. One value is left at the end.

    continues: 1 for a chain that takes the newest value off the stack and goes on from it, 0 for one that starts from
    +0; None stands for zeros.  roundings: for each chain None, or how its terms are summed exactly and rounded once;
    () stands for all None. The arrays are read-only: schedules are remembered and shared.
    """

    permutation: Indices
    lengths: Indices
    merges: Indices
    continues: Indices | None = None
    roundings: tuple[Rounding | None, ...] = ()

    def __post_init__(self) -> None:
        for name in ("permutation", "lengths", "merges", "continues"):
            if (array := getattr(self, name)) is not None:
                shared = array.view()  # the flag of an array that came in is not ours to change
                shared.flags.writeable = False
                object.__setattr__(self, name, shared)
        heights = np.cumsum(self._growth)
        whole = self.lengths.sum() == len(self.permutation) and len(self.lengths) == len(self.merges)
        fits = len(self.roundings) in (0, len(self.lengths)) and not self.pops[0]
        if not whole or not fits or heights[-1] != 1 or heights.min() < 1:
            raise ValueError(f"not a schedule: {self.lengths=}, {self.merges=}, {len(self.permutation)} terms")

    @property
    def pops(self) -> Indices:
        """`continues`, as numbers."""
        return np.zeros_like(self.merges) if self.continues is None else self.continues

    @property
    def rounded(self) -> tuple[Rounding | None, ...]:
        """`roundings`, one for each chain."""
        return self.roundings or (None,) * len(self.lengths)

    @property
    def _growth(self) -> Indices:
        """By how many values each chain and its merges make the stack higher."""
        growth: Indices = 1 - self.merges - self.pops
        return growth

    @property
    def depth(self) -> int:
        """The most values that the stack ever holds."""
        return int((np.cumsum(self._growth) + self.merges).max())

    @property
    def in_place(self) -> bool:
        """Whether the terms are taken as they lie."""
        return bool((self.permutation == np.arange(len(self.permutation))).all())


def one_chain(permutation: Indices) -> Schedule:
    """All terms in one chain."""
    return Schedule(permutation, np.array([len(permutation)]), np.array([0]))


def merged_in_sequence(lengths: list[int]) -> Schedule:
    """Consecutive chains, each added to the sum of those before it."""
    merges = np.ones(len(lengths), np.int64)
    merges[0] = 0
    return Schedule(np.arange(sum(lengths)), np.array(lengths), merges)


def merged_in_pairs(permutation: Indices, lengths: list[int]) -> Schedule:
    """Consecutive chains under a binary tree whose left subtree is the largest power of two below the whole."""
    merges = [_trailing_zeros(count) for count in range(1, len(lengths) + 1)]
    merges[-1] += sum(1 - merge for merge in merges) - 1
    return Schedule(permutation, np.array(lengths), np.array(merges))


def _trailing_zeros(count: int) -> int:
    return (count & -count).bit_length() - 1
