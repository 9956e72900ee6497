"""Errors summed over blocks of a layer's outputs, so that a fault in one of them cannot drown in the whole layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]
Float64 = NDArray[np.float64]
KINDS = ("layer", "channel", "place")
"""The blocks: all outputs; those of one channel, over all pictures and places; those of one place of one picture."""


@dataclass(frozen=True)
class Blocks:
    """Mean squares of a field of shape (..., channels): of the layer, of each channel, of each place."""

    layer: float
    channel: Float64
    place: Float64

    def of(self, kind: str) -> Float64:
        return np.atleast_1d(np.asarray(getattr(self, kind), np.float64))

    def counts(self, kind: str) -> int:
        """How many blocks of that kind there are."""
        return int(self.of(kind).size)


def mean_squares(field: Array) -> Blocks:
    """field: (..., channels), finite."""
    rows = np.asarray(field, np.float64).reshape(-1, field.shape[-1])
    channel = np.einsum("ij,ij->j", rows, rows) / len(rows)
    place = np.einsum("ij,ij->i", rows, rows) / rows.shape[1]
    return Blocks(float(channel.mean()), channel, place)


def scales(simulated: Sequence[Blocks], floor: Blocks, expected: Blocks) -> Blocks:
    """The mean squares of rounding errors that each block is allowed, before any factor.

    The mean over the simulated arithmetics of this block; but no less than `floor`, one rounding of the exact outputs,
    and than `expected`: a block of few outputs may have been lucky in all simulations.
    """

    def allowed(kind: str) -> Float64:
        found = np.mean([blocks.of(kind) for blocks in simulated], axis=0)
        return np.maximum(np.maximum(found, floor.of(kind)), expected.of(kind))

    return Blocks(float(allowed("layer")[0]), allowed("channel"), allowed("place"))


def effective_outputs(squares: Array, e: Array) -> Blocks:
    """The number of independent errors that each block is worth, from 1 to its outputs.

    squares: the expected squares of the errors; e: the exact outputs, equal in all channels or in all places only where
    the same numbers were added, so that the errors are equal too. Errors of equal variance count one each; with others
    (sum of variances)^2 / (sum of their squares), after Satterthwaite 1946, where copies are one error.
    """
    rows = np.asarray(squares, np.float64).reshape(-1, e.shape[-1])
    exact = np.asarray(e, np.float64).reshape(rows.shape)
    copies = _copies(exact)
    places = _summed(rows, copies)
    channels = _summed(rows.T, _copies(exact.T))
    both = _summed(channels.T, copies)
    layer = float(_effective(both.reshape(-1, 1))[0])
    return Blocks(layer, _effective(places), _effective(channels))


def _copies(rows: Float64) -> NDArray[np.intp]:
    """For each row the number of the distinct row that it is equal to."""
    if len(np.unique(rows[:, 0])) == len(rows):  # which shows at a glance that all are distinct
        return np.arange(len(rows))
    rows = np.ascontiguousarray(rows)
    whole = rows.view(np.dtype((np.void, rows.shape[1] * rows.itemsize))).ravel()
    return np.unique(whole, return_inverse=True)[1]


def _summed(rows: Float64, groups: NDArray[np.intp]) -> Float64:
    """The sums of the rows of each group."""
    if len(rows) == groups.max() + 1:
        return rows
    sums = np.zeros((groups.max() + 1, rows.shape[1]))
    np.add.at(sums, groups, rows)
    return sums


def _effective(variances: Float64) -> Float64:
    """By column; 1 where there are none."""
    largest = variances.max(axis=0)
    parts = variances / np.where(largest > 0, largest, 1.0)
    total = parts.sum(axis=0)
    return np.where(largest > 0, total**2 / np.maximum((parts**2).sum(axis=0), 1e-300), 1.0)


def ratios(errors: Blocks, scale: Blocks, kind: str) -> Float64:
    """RMS error over allowed RMS, block by block; 0 / 0 is 0, anything else over 0 infinite."""
    found, allowed = errors.of(kind), scale.of(kind)
    with np.errstate(divide="ignore", invalid="ignore"):
        quotient = np.where(found == 0, 0.0, found / allowed)
    return np.sqrt(quotient)
